import type { ServerDuplexStream } from '@grpc/grpc-js';
import { PkiError } from '../../../common/errors/index.ts';
import type { Consumer__Output } from '../../../common/wire/generated/meshca/issuer/v1/Consumer.ts';
import type { SyncDown } from '../../../common/wire/generated/meshca/issuer/v1/SyncDown.ts';
import type { SyncHello__Output } from '../../../common/wire/generated/meshca/issuer/v1/SyncHello.ts';
import type { SyncUp__Output } from '../../../common/wire/generated/meshca/issuer/v1/SyncUp.ts';
import type {
  ConsumerState,
  Sync,
  SyncConnection,
  SyncHello,
  SyncMessage,
  SyncSession,
} from '../../../services/services.ts';
import type { AgentCaller } from '../../../services/callers/caller.ts';
import { InTurns } from './in-turns.ts';
import { syncDown } from './sync-messages.ts';

/** Cache of converted messages. One message may go to thousands of agents and is converted once. */
const converted = new WeakMap<SyncMessage, SyncDown>();

function messageFor(message: SyncMessage): SyncDown {
  const cached = converted.get(message);
  if (cached !== undefined) return cached;
  const fresh = syncDown(message);
  converted.set(message, fresh);
  return fresh;
}

type SyncCall = ServerDuplexStream<SyncUp__Output, SyncDown>;

/** One Sync stream. The session has the backpressure of the stream. */
export function syncStream(
  sync: Pick<Sync, 'open'>,
  caller: AgentCaller,
  call: SyncCall,
  fail: (thrown: unknown) => void,
): void {
  new SyncStream((hello, session) => sync.open(caller, hello, session), call, fail);
}

/** Handles the agent's messages one at a time, in order. Owner of the session. */
class SyncStream implements SyncSession {
  readonly #open: (hello: SyncHello, session: SyncSession) => Promise<SyncConnection>;
  readonly #call: SyncCall;
  readonly #refuse: (thrown: unknown) => void;
  #connection: SyncConnection | undefined;
  #over = false;

  constructor(
    open: (hello: SyncHello, session: SyncSession) => Promise<SyncConnection>,
    call: SyncCall,
    refuse: (thrown: unknown) => void,
  ) {
    this.#open = open;
    this.#call = call;
    this.#refuse = refuse;
    const turns = new InTurns<SyncUp__Output>(
      call,
      (message) => this.#handle(message),
      (thrown) => this.#fail(thrown),
    );
    call.on('data', (message: SyncUp__Output) => turns.take(message));
    call.on('drain', () => this.#connection?.drained());
    call.on('end', () => {
      this.#close();
      call.end();
    });
    for (const event of ['cancelled', 'close', 'error'] as const)
      call.on(event, () => this.#close());
  }

  send(message: SyncMessage): boolean {
    return this.#over || this.#call.write(messageFor(message));
  }

  close(error: PkiError): void {
    this.#fail(error);
  }

  async #handle(message: SyncUp__Output): Promise<void> {
    if (this.#over) return;
    if (message.hello) {
      if (this.#connection !== undefined)
        throw new PkiError('INVALID_REQUEST', 'a second hello on one sync stream');
      this.#connection = await this.#open(helloOf(message.hello), this);
      // TypeScript does not see that the stream may have ended meanwhile
      if (this.#over as boolean) this.#connection.closed();
      return;
    }
    if (this.#connection === undefined)
      throw new PkiError('INVALID_REQUEST', 'the first message of a sync stream must be its hello');
    await report(this.#connection, message);
  }

  #fail(thrown: unknown): void {
    this.#close();
    this.#refuse(thrown);
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#connection?.closed();
  }
}

async function report(connection: SyncConnection, message: SyncUp__Output): Promise<void> {
  if (message.agent)
    await connection.agent({
      ...message.agent,
      ...keptOf(message.agent),
      bundleRefusal: message.agent.bundleRefusal ?? undefined,
    });
  else if (message.consumers) {
    const { snapshot, removedIds, consumers } = message.consumers;
    await connection.consumers({ snapshot, removedIds, consumers: consumers.map(consumerOf) });
  } else if (message.replacements) {
    await connection.replaced(message.replacements.replacedSerials);
  } else if (message.targets) connection.targets(message.targets);
  else if (message.targetResult) connection.targetAnswered(message.targetResult);
  else if (message.vantageResult) connection.vantageAnswered(message.vantageResult);
  else if (message.handshakes) {
    const { reports } = message.handshakes;
    await connection.handshakes(
      reports.map((report) => ({ ...report, issuerKeyId: report.issuerKeyId.toString('hex') })),
    );
  }
}

const consumerOf = (consumer: Consumer__Output): ConsumerState => ({
  ...consumer,
  authoritySetDigest: consumer.authoritySetDigest.toString('hex'),
  jwtSetDigest: consumer.jwtSetDigest.toString('hex'),
  issuerSetDigest: consumer.issuerSetDigest.toString('hex'),
});

/** Absent if the agent does not report it. An empty serial means that the agent keeps no SVID. */
const keptOf = ({
  keptSvid,
}: Pick<SyncHello__Output, 'keptSvid'>): { readonly keptSerial?: string } =>
  keptSvid === null || keptSvid === undefined ? {} : { keptSerial: keptSvid.serial };

const helloOf = (hello: SyncHello__Output): SyncHello => ({
  protocolVersion: hello.protocolVersion,
  agentVersion: hello.agentVersion.slice(0, 64),
  capabilities: hello.capabilities,
  bundleSequence: hello.bundleSequence,
  survivedOutageSeconds: hello.survivedOutageSeconds,
  position: hello.position
    ? { epoch: hello.position.epoch, revision: hello.position.revision }
    : undefined,
  logCheckpoint: hello.logCheckpoint,
  instanceId: hello.instanceId,
  lostState: hello.lostState,
  clockMs: hello.clockMs,
  ...keptOf(hello),
});
