// A Key Vault with what the sites refer to, and the right to read it for their identity.
// Whoever deploys it needs the right to assign roles (Owner, or User Access Administrator).

param name string
param location string
param tags object
param readerPrincipalId string
param arrcert string
@secure()
param djangoSecretKey string

// The role "Key Vault Secrets User": reads secrets and nothing else.
var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  // checkov:skip=CKV_AZURE_109: The sites have no virtual network to reach a private vault from.
  // checkov:skip=CKV_AZURE_189: The sites have no virtual network to reach a private vault from.
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    // A deleted vault keeps its name for the seven days: until then use another environment name.
    enablePurgeProtection: true
  }
}

// Fingerprints and CA certificates are public. What the vault adds is who may change them, and a
// record of each change.
resource arrcertSecret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {
  // checkov:skip=CKV_AZURE_41: Policies do not expire; an expired secret would stop all sites.
  parent: vault
  name: 'arrcert'
  properties: {
    value: arrcert
    contentType: 'application/json'
  }
}

resource secretKeySecret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {
  // checkov:skip=CKV_AZURE_41: Rotated by deploying again; an expired secret would stop the site.
  parent: vault
  name: 'django-secret-key'
  properties: {
    value: djangoSecretKey
    contentType: 'text/plain'
  }
}

resource mayReadSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, readerPrincipalId, secretsUser)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsUser)
    principalId: readerPrincipalId
    principalType: 'ServicePrincipal'
  }
}
