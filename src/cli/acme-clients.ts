import type { acmeClients } from './option-values.ts';

export type AcmeClient = (typeof acmeClients)[number];

/** What a client needs to make an account. */
export interface ClientAccount {
  readonly directoryUrl: string;
  readonly keyId: string;
  /** Base64url, without padding. */
  readonly macKey: string;
  /** A name to order in the example. */
  readonly name: string;
}

type Lines = (account: ClientAccount) => readonly string[];

const lines: Readonly<Record<AcmeClient, Lines>> = {
  certbot: ({ directoryUrl, keyId, macKey, name }) => [
    `certbot certonly --standalone --server ${directoryUrl} \\`,
    `  --eab-kid ${keyId} --eab-hmac-key ${macKey} \\`,
    `  --agree-tos --register-unsafely-without-email -d ${name}`,
  ],
  lego: ({ directoryUrl, keyId, macKey, name }) => [
    `lego --server ${directoryUrl} --accept-tos --email ops@${apexOf(name)} \\`,
    `  --eab --kid ${keyId} --hmac ${macKey} --http --domains ${name} run`,
  ],
  'acme.sh': ({ directoryUrl, keyId, macKey, name }) => [
    `acme.sh --register-account --server ${directoryUrl} \\`,
    `  --eab-kid ${keyId} --eab-hmac-key ${macKey}`,
    `acme.sh --issue --server ${directoryUrl} --standalone -d ${name}`,
  ],
  caddy: ({ directoryUrl, keyId, macKey }) => [
    '{',
    `  acme_ca ${directoryUrl}`,
    '  acme_eab {',
    `    key_id ${keyId}`,
    `    mac_key ${macKey}`,
    '  }',
    '}',
  ],
  'cert-manager': ({ directoryUrl, keyId, macKey }) => [
    'apiVersion: v1',
    'kind: Secret',
    'metadata: { name: meshca-eab, namespace: cert-manager }',
    `stringData: { secret: ${macKey} }`,
    '---',
    'apiVersion: cert-manager.io/v1',
    'kind: ClusterIssuer',
    'metadata: { name: meshca }',
    'spec:',
    '  acme:',
    `    server: ${directoryUrl}`,
    '    privateKeySecretRef: { name: meshca-account }',
    '    externalAccountBinding:',
    `      keyID: ${keyId}`,
    '      keySecretRef: { name: meshca-eab, key: secret }',
    '    solvers: [{ http01: { ingress: {} } }]',
  ],
};

const apexOf = (name: string): string => name.split('.').slice(-2).join('.');

/** The command line or configuration with which a client makes an account by this key. */
export const clientLines = (client: AcmeClient, account: ClientAccount): readonly string[] =>
  lines[client](account);
