export { Consumers, type AgentSets, type ConsumerChanges } from './consumers.ts';
export { EntriesReceiver } from './entries-receiver.ts';
export { HandshakeCounts } from './handshakes.ts';
export { Replacements } from './replacements.ts';
export { TargetReports } from './targets.ts';
export {
  IssuerSession,
  noticedSkewSeconds,
  type SessionDependencies,
  type SessionStatus,
} from './session.ts';
