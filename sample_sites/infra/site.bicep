// One site behind client certificates. All sample sites are made by this file.

param name string
param service string
param location string
param tags object
param planId string
param identityId string
param workspaceId string
param startCommand string
param clientCertMode string
param clientCertExclusionPaths string
param loadCertificates string
@secure()
param settings object

var allSettings = union(
  settings,
  {
    // Installs requirements.txt and collects Django's static files on the platform.
    SCM_DO_BUILD_DURING_DEPLOYMENT: '1'
  },
  empty(loadCertificates) ? {} : { WEBSITE_LOAD_CERTIFICATES: loadCertificates }
)

resource site 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_222: The clients call from the internet.
  // checkov:skip=CKV_AZURE_212: The sample keeps no state and is no service: one instance will do.
  name: name
  location: location
  // azd deploys a service's code to the site that carries its name.
  tags: union(tags, { 'azd-service-name': service })
  kind: 'app,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: planId
    // Nothing but forwarding: the front end checks neither issuer nor date nor revocation.
    clientCertEnabled: true
    clientCertMode: clientCertMode
    clientCertExclusionPaths: clientCertExclusionPaths
    // Over plain HTTP no certificate can come along.
    httpsOnly: true
    clientAffinityEnabled: false
    // The identity that reads Key Vault references.
    keyVaultReferenceIdentity: identityId
    siteConfig: {
      linuxFxVersion: 'PYTHON|3.13'
      appCommandLine: startCommand
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      remoteDebuggingEnabled: false
      // Only without renegotiation: not with exclusion paths, nor with OptionalInteractiveUser.
      http20Enabled: true
      alwaysOn: true
      // A page that shows nothing and that the site answers without a certificate. Whether the
      // probe passes a front end in the mode Required is uncertain: look after the deployment.
      healthCheckPath: '/health'
      appSettings: [for setting in items(allSettings): {
        name: setting.key
        value: setting.value
      }]
    }
  }
}

// Deployments sign in with Entra ID; the site's own user name and password are switched off.
resource noPasswordForDeployment 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'scm'
  properties: {
    allow: false
  }
}

resource noPasswordForFtp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: site
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: site
  name: 'to-log-analytics'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        // What the site writes to stderr: arrcert's reasons.
        category: 'AppServiceConsoleLogs'
        enabled: true
      }
      {
        // What the front end answered, its own 403 for want of a certificate included.
        category: 'AppServiceHTTPLogs'
        enabled: true
      }
    ]
  }
}

output name string = site.name
output url string = 'https://${site.properties.defaultHostName}'
