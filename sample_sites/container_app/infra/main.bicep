// Everything that the container needs on Azure: one resource group with a registry, an environment of
// Container Apps, the app and its logs. `azd up` in the folder above deploys it.
targetScope = 'subscription'

@description('Names the resource group, and tags everything so that azd finds it again.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('The region of all resources, such as westeurope.')
@minLength(1)
param location string

@description('''
Whether the ingress asks for a client certificate. It checks none in any mode.
require: it refuses whoever has none. Users report that requests from inside Azure pass all the same.
accept: it forwards everybody, and the site alone decides.
''')
@allowed([
  'require'
  'accept'
])
param clientCertificateMode string = 'require'

@description('The image that azd has pushed. Empty before the first deployment of code.')
param imageName string = ''

// Who may enter. Compiled into the template: deploy again after a change.
var policies = loadYamlContent('../../infra/arrcert.yaml')

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
    clientCertificateMode: clientCertificateMode
    imageName: imageName
    arrcert: string(policies)
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = resources.outputs.registryEndpoint
output SITE_URL string = resources.outputs.url
