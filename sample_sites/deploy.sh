#!/usr/bin/env bash
# Deploys the sample sites with the Azure CLI alone. What `azd up` does, step by step.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: DJANGO_SECRET_KEY=... ./deploy.sh NAME LOCATION

  NAME      names the resource group, rg-NAME: letters, digits and hyphens
  LOCATION  a region, such as westeurope

Before the first time sign in with `az login`, and edit infra/arrcert.yaml: who may enter.

From the environment:
  DJANGO_SECRET_KEY  at least 50 random characters; keep it for the next deployment:
                     python3 -c 'import secrets; print(secrets.token_urlsafe(50))'
  CLIENT_CERT_MODE   Required (the default), Optional or OptionalInteractiveUser
  USE_KEY_VAULT      true or false (the default)

To remove everything again: az group delete --name rg-NAME
TEXT
}

case "${1:-}" in
    -h | --help)
        usage
        exit
        ;;
esac
if [ "$#" -ne 2 ]; then
    usage >&2
    exit 2
fi
name=$1
location=$2
secret_key=${DJANGO_SECRET_KEY:-}
if [ "${#secret_key}" -lt 50 ] || [[ $secret_key = *[!A-Za-z0-9_-]* ]]; then
    echo "DJANGO_SECRET_KEY must be 50 or more of the characters A-Z a-z 0-9 _ -; see --help." >&2
    exit 2
fi
cd "$(dirname "$0")"

echo "1. The subscription that will be used"
az account show --query name --output tsv

echo "2. Each site's code, with the wheel of this clone"
python3 package.py flask_site django_site fastapi_site

echo "3. Resource group, plan, sites, logs: infra/main.bicep"
# The secret goes through a file: a command line can be read by everybody on this machine.
secrets=$(mktemp)
trap 'rm -f "$secrets"' EXIT
printf '{"djangoSecretKey": {"value": "%s"}}' "$secret_key" >"$secrets"
az deployment sub create \
    --name "$name" \
    --location "$location" \
    --template-file infra/main.bicep \
    --parameters "@$secrets" \
    --parameters environmentName="$name" location="$location" \
    --parameters clientCertMode="${CLIENT_CERT_MODE:-Required}" useKeyVault="${USE_KEY_VAULT:-false}" \
    --output none

echo "4. The code. App Service installs requirements.txt; that takes some minutes."
for site in flask django fastapi; do
    site_name=$(az deployment group show \
        --resource-group "rg-$name" \
        --name resources \
        --query "properties.outputs.${site}SiteName.value" \
        --output tsv)
    az webapp deploy \
        --resource-group "rg-$name" \
        --name "$site_name" \
        --src-path "${site}_site/dist.zip" \
        --type zip \
        --output none
    url=$(az webapp show \
        --resource-group "rg-$name" \
        --name "$site_name" \
        --query "join('', ['https://', defaultHostName])" \
        --output tsv)
    echo "$url"
    variable=$(echo "${site}_url" | tr '[:lower:]' '[:upper:]')
    export "$variable=$url"
done

echo "5. The verdict: arrcert probe. docs/deploy.md says what else to verify."
python3 verify.py
