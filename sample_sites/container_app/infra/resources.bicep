// The registry, the environment of Container Apps, the app in it and their logs.

param location string
param tags object
param suffix string
param clientCertificateMode string
param imageName string
param arrcert string

// The role "AcrPull": pulls images and nothing else.
var acrPull = '7f951dda-4ed3-4680-a7ca-43fe172d538d'

// Before azd has pushed an image, a page of Microsoft's stands in its place, on another port.
var hasImage = !empty(imageName)
var placeholder = 'mcr.microsoft.com/azuredocs/containerapps-helloworld:latest'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-${suffix}'
  location: location
  tags: tags
}

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  // checkov:skip=CKV_AZURE_139: azd pushes from the internet, and a private registry is Premium.
  // checkov:skip=CKV_AZURE_163: Scanning is a setting of the subscription (Defender for Cloud).
  // checkov:skip=CKV_AZURE_166: Quarantine is Premium; the sample starts at Basic.
  name: 'cr${suffix}'
  location: location
  tags: tags
  sku: {
    name: 'Basic'
  }
  properties: {
    // The app signs in with its identity.
    adminUserEnabled: false
  }
}

resource mayPull 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: registry
  name: guid(registry.id, identity.id, acrPull)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', acrPull)
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource containerEnvironment 'Microsoft.App/managedEnvironments@2025-01-01' = {
  name: 'cae-${suffix}'
  location: location
  tags: tags
  properties: {
    appLogsConfiguration: {
      // To the workspace of the diagnostic setting below, without a key.
      destination: 'azure-monitor'
    }
  }
}

resource site 'Microsoft.App/containerApps@2025-01-01' = {
  name: 'site-${suffix}'
  location: location
  // azd deploys a service's image to the app that carries its name.
  tags: union(tags, { 'azd-service-name': 'site' })
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    managedEnvironmentId: containerEnvironment.id
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        targetPort: hasImage ? 8000 : 80
        // Over plain HTTP no certificate can come along.
        allowInsecure: false
        // A client certificate is for http: not for tcp.
        transport: 'http'
        // Nothing but forwarding: the ingress checks neither issuer nor date nor revocation.
        clientCertificateMode: clientCertificateMode
      }
      registries: [
        {
          server: registry.properties.loginServer
          identity: identity.id
        }
      ]
    }
    template: {
      containers: [
        {
          name: 'site'
          image: hasImage ? imageName : placeholder
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          env: [
            {
              name: 'ARRCERT'
              value: arrcert
            }
            {
              name: 'ARRCERT_FRONT_END'
              value: 'container-apps'
            }
          ]
          // A page that shows nothing and that the site answers without a certificate.
          probes: hasImage ? [
            {
              type: 'Liveness'
              httpGet: {
                path: '/health'
                port: 8000
              }
            }
          ] : []
        }
      ]
      scale: {
        minReplicas: 1
        maxReplicas: 2
      }
    }
  }
  dependsOn: [
    mayPull
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

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: containerEnvironment
  name: 'to-log-analytics'
  properties: {
    workspaceId: logs.id
    logs: [
      {
        // What the site writes to stderr: arrcert's reasons.
        category: 'ContainerAppConsoleLogs'
        enabled: true
      }
    ]
  }
}

output registryEndpoint string = registry.properties.loginServer
output url string = 'https://${site.properties.configuration.ingress.fqdn}'
