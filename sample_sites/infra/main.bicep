// Everything that the sample sites need on Azure: one resource group with one plan, three sites and
// their logs. `azd up` deploys it, and so does `az deployment sub create` (see ../deploy.sh).
targetScope = 'subscription'

@description('Names the resource group, and tags everything so that azd finds it again.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('The region of all resources, such as westeurope.')
@minLength(1)
param location string

@description('Size of the plan. Client certificates need Basic (B1) or above.')
@allowed([
  'B1'
  'B2'
  'B3'
  'P0v3'
  'P1v3'
  'P2v3'
])
param planSku string = 'B1'

@description('''
Whether the front end asks for a client certificate.
Required: it refuses whoever has none (403, as users report). Whether it lets the platform's own probes through is
uncertain. Optional: it forwards everybody, and the site alone decides. OptionalInteractiveUser: as
Optional, but clients are not asked by default; it renegotiates, with the consequences told below.
''')
@allowed([
  'Required'
  'Optional'
  'OptionalInteractiveUser'
])
param clientCertMode string = 'Required'

// Empty, and best left so. With a path excluded, the front end asks for the certificate only after
// it has read which path is wanted, by TLS renegotiation: no TLS 1.3, no HTTP/2, and a body of more
// than 100 KB is answered with 403. An entry also covers every path that begins with it. A page that
// is open to all needs no exclusion in the mode Optional, only an exempt path of the site.
@description('Paths for which the front end asks for no certificate, separated by ; or ,')
param clientCertExclusionPaths string = ''

@description('ARRCERT_EXEMPT_PATHS: paths that the Django and FastAPI sites answer without a certificate.')
param exemptPaths string = '/;/health;/static/*'

@description('DJANGO_ALLOWED_HOSTS: custom domains of the Django site, separated by ;')
param djangoAllowedHosts string = ''

@description('DJANGO_SECRET_KEY: at least 50 random characters.')
@secure()
@minLength(50)
param djangoSecretKey string

@description('REMOTE_API_URL: the address that /outbound-mtls calls. Empty: it calls nobody.')
param remoteApiUrl string = ''

@description('OUTBOUND_CERTIFICATE: thumbprint of the certificate that the sites show there.')
param outboundCertificate string = ''

@description('''
WEBSITE_LOAD_CERTIFICATES: thumbprints of certificates that were uploaded to App Service and that the sites use to call out,
separated by a comma, or * for all. They appear below /var/ssl/private.
''')
param loadCertificates string = ''

@description('Whether ARRCERT and DJANGO_SECRET_KEY lie in a Key Vault, and the sites refer to them.')
param useKeyVault bool = false

// Who may enter. Compiled into the template: deploy again after a change.
var policies = loadYamlContent('arrcert.yaml')

var tags = {
  'azd-env-name': environmentName
}

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module resources 'resources.bicep' = {
  name: 'resources'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: toLower(uniqueString(subscription().id, environmentName, location))
    planSku: planSku
    clientCertMode: clientCertMode
    clientCertExclusionPaths: clientCertExclusionPaths
    arrcert: string(policies)
    exemptPaths: exemptPaths
    djangoAllowedHosts: djangoAllowedHosts
    djangoSecretKey: djangoSecretKey
    remoteApiUrl: remoteApiUrl
    outboundCertificate: outboundCertificate
    loadCertificates: loadCertificates
    useKeyVault: useKeyVault
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output FLASK_SITE_NAME string = resources.outputs.flaskSiteName
output DJANGO_SITE_NAME string = resources.outputs.djangoSiteName
output FASTAPI_SITE_NAME string = resources.outputs.fastapiSiteName
output FLASK_URL string = resources.outputs.flaskUrl
output DJANGO_URL string = resources.outputs.djangoUrl
output FASTAPI_URL string = resources.outputs.fastapiUrl
