export { systemClock, type Clock } from './clock.ts';
export { errorFields, type ErrorFields } from './error-fields.ts';
export { deepFrozen } from './frozen.ts';
export {
  levelled,
  mostVerbose,
  silentLogger,
  type LevelledLogger,
  type Logger,
  type LogLevel,
} from './logger.ts';
export { isUuid, systemRandom, uuidForm, uuidv7, type Random } from './random.ts';
export { chainOf, keepPeerChains, peerChainOf } from './tls-peer-chain.ts';
export { InOrder, type Place } from './in-order.ts';
export { isOneLine, oneLine } from './one-line.ts';
export { atTurnEnd, nextTurn, type TurnStage } from './turn-end.ts';
export { isLocalHost, isLoopback, isLoopbackUrl } from './local-host.ts';
export { boundConnections, ConnectionSlots } from './connection-slots.ts';
export { Crowd } from './crowd.ts';
export { holderOf, plainAddress } from './peer-address.ts';
export { KeyedBuckets, TokenBucket, type Rate } from './token-bucket.ts';
export { reloadConfig, ReloadRequests } from './reload.ts';
export { Rounds, type RoundsOptions } from './rounds.ts';
