import type { Rights } from '../../domain/index.ts';
import type { AgentCaller, CertificateCaller } from './caller.ts';

/** The rights of the caller on which an issuance rests, beside those of the item. */
export const callerRights = (caller: CertificateCaller): Rights => [
  ...(caller.class === 'agent' ? agentRights(caller) : nodeRights(caller)),
  { kind: 'caller', serial: caller.serial },
];

const nodeRights = (caller: Exclude<CertificateCaller, AgentCaller>): Rights =>
  caller.class === 'workload' || caller.node === undefined
    ? []
    : [{ kind: 'agent', ...caller.node }];

const agentRights = ({ spiffeId, generation, serial }: AgentCaller): Rights => [
  { kind: 'agent', spiffeId, generation },
  { kind: 'agent-svid', spiffeId, serial },
];
