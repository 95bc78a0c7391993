export { parseListenerAddress } from './address.ts';
export type { ProvenListener, Shown } from './listener.ts';
export type { Proof, ProofDemand, Prober } from './prober.ts';
export { createProber, type ProberDependencies } from './tls-prober.ts';
