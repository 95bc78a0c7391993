export { systemClock, type Clock } from './clock.ts';
export { silentLogger, type Logger } from './logger.ts';
export { systemRandom, uuidv7, type Random } from './random.ts';
export { chainOf, keepPeerChains, peerChainOf } from './tls-peer-chain.ts';
export { isOneLine, oneLine } from './one-line.ts';
export { atTurnEnd, type TurnStage } from './turn-end.ts';
export { isLocalHost, isLoopback } from './local-host.ts';
export { boundConnections, ConnectionSlots } from './connection-slots.ts';
export { holderOf, plainAddress } from './peer-address.ts';
