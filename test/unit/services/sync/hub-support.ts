import { PkiError } from '../../../../src/common/errors/index.ts';
import { serverId } from '../../../../src/common/spiffe/index.ts';
import type { Position } from '../../../../src/domain/index.ts';
import type {
  AgentCaller,
  SyncConnection,
  SyncHello,
  SyncMessage,
  SyncSession,
} from '../../../../src/services/index.ts';
import { settle } from '../../../support/agent.ts';
import { trustDomain, type ServicesWorld } from '../../../support/services-world.ts';

export const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof PkiError && error.code === code;
export const server = serverId(trustDomain).toString();
type Entries = Extract<SyncMessage, { kind: 'entries' }>;

/** An agent's end: keeps what it was sent, as an agent would. */
export class Receiver implements SyncSession {
  readonly messages: SyncMessage[] = [];
  readonly held = new Map<string, string>();
  position: Position | undefined;
  error: PkiError | undefined;
  full = false;
  connection: SyncConnection | undefined;
  #staging: Map<string, string> | undefined;

  send(message: SyncMessage): boolean {
    this.messages.push(message);
    if (message.kind === 'entries') this.#apply(message);
    return !this.full;
  }

  close(error: PkiError): void {
    this.error = error;
    this.connection?.closed();
  }

  pages(): readonly Entries[] {
    return this.messages.filter((message) => message.kind === 'entries');
  }

  #apply(page: Entries): void {
    if (page.snapshotBegin) this.#staging = new Map();
    const into = this.#staging ?? this.held;
    for (const removed of page.removedIds) into.delete(removed);
    for (const entry of page.upserts) into.set(entry.id, entry.spiffeId);
    if (page.snapshotEnd) {
      this.held.clear();
      for (const [key, value] of this.#staging ?? []) this.held.set(key, value);
      this.#staging = undefined;
    }
    if (page.position !== undefined) this.position = page.position;
  }
}

export const hello = (over: Partial<SyncHello> = {}): SyncHello => ({
  protocolVersion: 1,
  agentVersion: '1',
  capabilities: [],
  position: undefined,
  bundleSequence: 1,
  survivedOutageSeconds: 100,
  ...over,
});

export async function connect(
  w: ServicesWorld,
  caller: AgentCaller,
  over: Partial<SyncHello> = {},
  full = false,
): Promise<Receiver> {
  const receiver = new Receiver();
  receiver.full = full;
  receiver.connection = await w.services.sync.open(caller, hello(over), receiver);
  await settled(w);
  return receiver;
}
export async function settled(w: ServicesWorld): Promise<void> {
  await settle();
  await w.services.sync.settled();
  await settle();
}
export const held = (receiver: Receiver): readonly string[] => [...receiver.held.keys()].sort();
