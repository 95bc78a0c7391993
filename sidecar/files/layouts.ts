import type { SetLayout } from './target.ts';

type PemNames = Omit<SetLayout, 'pkcs12' | 'jks'>;

const nothing: PemNames = {
  links: false,
  cert: undefined,
  chain: undefined,
  fullchain: undefined,
  key: undefined,
  combined: undefined,
  ca: undefined,
  crl: undefined,
  federated: {},
};

/** Names of files that programs expect. */
export const layouts = {
  /** No CRLs: they change often, and each change makes a new set with a new leaf. */
  default: {
    ...nothing,
    ...{ cert: 'cert.pem', chain: 'chain.pem', fullchain: 'fullchain.pem' },
    ...{ key: 'key.pem', combined: 'combined.pem', ca: 'ca.pem' },
  },
  /** As in the example of the file_watcher of gRPC's proposal A29; its configuration names the paths. */
  grpc: {
    ...nothing,
    fullchain: 'certificates.pem',
    key: 'private_key.pem',
    ca: 'ca_certificates.pem',
  },
  /** Fixed paths below `/var/run/secrets/workload-spiffe-credentials`, which Istio's agent reads. */
  istio: {
    ...nothing,
    links: true,
    fullchain: 'cert-chain.pem',
    key: 'key.pem',
    ca: 'root-cert.pem',
  },
  /** As in a Secret of type `kubernetes.io/tls`. */
  kubernetes: { ...nothing, fullchain: 'tls.crt', key: 'tls.key', ca: 'ca.crt' },
} as const satisfies Readonly<Record<string, PemNames>>;

export const layoutNames = Object.keys(layouts) as readonly (keyof typeof layouts)[] as [
  keyof typeof layouts,
  ...(keyof typeof layouts)[],
];
