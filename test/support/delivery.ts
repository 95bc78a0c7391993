import type { StoredSet } from '../../sidecar/files/certificate-set.ts';
import type { DeliveryContext } from '../../sidecar/files/delivery-event.ts';
import type { DeliveredSet } from '../../sidecar/files/delivery-record.ts';
import type { FileTarget } from '../../sidecar/files/target.ts';

export const storedSet = (number: number, of: Partial<StoredSet> = {}): StoredSet => {
  const serial = number.toString(16).padStart(4, '0');
  return {
    name: `${number}-${serial}`,
    number,
    serial,
    leafSha256: serial.repeat(16),
    directory: `/t/sets/${number}-${serial}`,
    notBefore: 1_800_000_000,
    notAfter: 1_800_003_600,
    authoritySetDigest: 'aa'.repeat(32),
    forNames: undefined,
    ...of,
  };
};

export const deliveredSet = (number: number, of: Partial<DeliveredSet> = {}): DeliveredSet => ({
  ...storedSet(number),
  rootNames: ['3000'],
  crlsDigest: '',
  federatedDigest: '',
  spiffeId: 'spiffe://td.test/web',
  entryId: 'web',
  entryRevision: 1,
  authorityId: 'issuer',
  renewAt: 1_800_001_200,
  endsAt: 1_800_003_600,
  ...of,
});

export const deliveryContext = (of: Partial<DeliveryContext> = {}): DeliveryContext => ({
  now: 1_800_000_000,
  promote: 'automatic',
  inRollout: false,
  hasListeners: true,
  graceSeconds: 600,
  retryDelaySeconds: (failures) => 10 * failures,
  ...of,
});

export const fileTarget = (of: Partial<FileTarget> = {}): FileTarget => ({
  name: 'web',
  directory: '/t',
  spiffeId: undefined,
  keyType: 'ec-p256',
  layout: {
    links: false,
    cert: 'cert.pem',
    chain: 'chain.pem',
    fullchain: 'fullchain.pem',
    key: 'key.pem',
    combined: 'combined.pem',
    ca: 'ca.pem',
    crl: undefined,
    federated: {},
    pkcs12: undefined,
    jks: undefined,
  },
  permissions: {
    uid: undefined,
    gid: undefined,
    mode: 0o644,
    keyMode: 0o600,
    directoryMode: 0o755,
  },
  driver: { type: 'exec', settings: {}, timeoutSeconds: 10 },
  listeners: [{ address: '127.0.0.1:443', serverName: undefined, protocol: 'tls' }],
  proof: { handshakes: 3, timeoutSeconds: 5 },
  rollout: undefined,
  promote: 'automatic',
  graceSeconds: 600,
  ...of,
});
