// The plan, the three sites on it, their logs and, where it is wanted, their Key Vault.

param location string
param tags object
param suffix string
param planSku string
param clientCertMode string
param clientCertExclusionPaths string
param arrcert string
param exemptPaths string
param djangoAllowedHosts string
@secure()
param djangoSecretKey string
param remoteApiUrl string
param outboundCertificate string
param loadCertificates string
param useKeyVault bool

// At most 24 characters, and unique in the world.
var vaultName = 'kv-${take(suffix, 13)}'

// What a site gets in place of a value. The platform resolves it; where it cannot, the text itself
// arrives, and the site does not start.
var arrcertReference = '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=arrcert)'
var secretKeyReference = '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=django-secret-key)'

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_225: Zone redundancy needs a Premium plan; the sample starts at Basic.
  name: 'plan-${suffix}'
  location: location
  tags: tags
  kind: 'linux'
  sku: {
    name: planSku
  }
  properties: {
    // Linux.
    reserved: true
  }
}

// One identity for all sites. It exists before them, and so does its role on the vault.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-${suffix}'
  location: location
  tags: tags
}

module vault 'vault.bicep' = if (useKeyVault) {
  name: 'vault'
  params: {
    name: vaultName
    location: location
    tags: tags
    readerPrincipalId: identity.properties.principalId
    arrcert: arrcert
    djangoSecretKey: djangoSecretKey
  }
}

module flask 'site.bicep' = {
  name: 'flask'
  params: {
    name: 'flask-${suffix}'
    service: 'flask'
    location: location
    tags: tags
    planId: plan.id
    identityId: identity.id
    workspaceId: logs.id
    clientCertMode: clientCertMode
    clientCertExclusionPaths: clientCertExclusionPaths
    loadCertificates: loadCertificates
    settings: {
      ARRCERT: useKeyVault ? arrcertReference : arrcert
      // The Flask site protects by decorator. The list counts where ARRCERT_PROTECT_ALL is true.
      ARRCERT_EXEMPT_PATHS: exemptPaths
      REMOTE_API_URL: remoteApiUrl
      OUTBOUND_CERTIFICATE: outboundCertificate
    }
  }
  dependsOn: [
    vault
  ]
}

module django 'site.bicep' = {
  name: 'django'
  params: {
    name: 'django-${suffix}'
    service: 'django'
    location: location
    tags: tags
    planId: plan.id
    identityId: identity.id
    workspaceId: logs.id
    clientCertMode: clientCertMode
    clientCertExclusionPaths: clientCertExclusionPaths
    loadCertificates: loadCertificates
    settings: {
      ARRCERT: useKeyVault ? arrcertReference : arrcert
      // Django's middleware checks every other path.
      ARRCERT_EXEMPT_PATHS: exemptPaths
      REMOTE_API_URL: remoteApiUrl
      OUTBOUND_CERTIFICATE: outboundCertificate
      DJANGO_SECRET_KEY: useKeyVault ? secretKeyReference : djangoSecretKey
      DJANGO_ALLOWED_HOSTS: djangoAllowedHosts
    }
  }
  dependsOn: [
    vault
  ]
}

module fastapi 'site.bicep' = {
  name: 'fastapi'
  params: {
    name: 'fastapi-${suffix}'
    service: 'fastapi'
    location: location
    tags: tags
    planId: plan.id
    identityId: identity.id
    workspaceId: logs.id
    clientCertMode: clientCertMode
    clientCertExclusionPaths: clientCertExclusionPaths
    loadCertificates: loadCertificates
    settings: {
      ARRCERT: useKeyVault ? arrcertReference : arrcert
      // The gate checks every other path.
      ARRCERT_EXEMPT_PATHS: exemptPaths
      REMOTE_API_URL: remoteApiUrl
      OUTBOUND_CERTIFICATE: outboundCertificate
    }
  }
  dependsOn: [
    vault
  ]
}

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: 'log-${suffix}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 30
  }
}

// In the portal: Logs, Queries, category arrcert.
resource denials 'Microsoft.OperationalInsights/workspaces/savedSearches@2020-08-01' = {
  parent: logs
  name: 'denials'
  properties: {
    category: 'arrcert'
    displayName: 'Denials by reason'
    query: loadTextContent('denials.kql')
    version: 2
  }
}

output flaskSiteName string = flask.outputs.name
output djangoSiteName string = django.outputs.name
output fastapiSiteName string = fastapi.outputs.name
output flaskUrl string = flask.outputs.url
output djangoUrl string = django.outputs.url
output fastapiUrl string = fastapi.outputs.url
