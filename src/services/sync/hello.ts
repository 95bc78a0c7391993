import { protocolVersion } from '../../common/wire/index.ts';
import type { Position } from '../../domain/index.ts';
import type { SyncHello, SyncMessage } from './sync.ts';

/**
 * `issuer-sets`: published issuing authorities are sent, and their digest is accepted. `handshakes`:
 * reports are accepted. `file-targets`: reports of file targets are accepted. `federation`: the
 * foreign bundles are sent to agents that say so too.
 */
const capabilities: readonly string[] = ['issuer-sets', 'handshakes', 'file-targets', 'federation'];

export const welcomeOf = (
  hello: SyncHello,
  server: { readonly epoch: string; readonly serverTime: number; readonly serverVersion: string },
): SyncMessage => ({
  kind: 'welcome',
  protocolVersion: Math.min(protocolVersion, hello.protocolVersion),
  capabilities,
  ...server,
});

/** From where changes are sent. Undefined: a snapshot is needed. */
export const positionFrom = (
  { position }: SyncHello,
  epoch: string,
  present: Position,
): Position | undefined =>
  position?.epoch === epoch && position.revision <= present.revision ? position : undefined;

/** What an agent counts, or 0 where that is no count. */
export const countOf = (value: number): number =>
  Number.isSafeInteger(value) && value > 0 ? value : 0;
