import { unwrap } from '../../src/common/errors/index.ts';
import {
  heard,
  newConversation,
  responded,
  subscriptionOf,
  type Conversation,
  type SecretsRequest,
} from '../../sidecar/apis/sds/protocol.ts';
import { seeded } from './seeded.ts';

/**
 * A client and a server of secrets in miniature, with a queue in each direction. The client is the
 * reference: it knows what it wants, what it accepted, and what it said. The server knows only the
 * conversation. Everything comes from the seed.
 */
export interface SdsModelOptions {
  readonly seed: number;
  readonly steps: number;
  readonly kind: SecretsRequest['kind'];
  /** Alters what the server hears: to show that the model notices. */
  readonly mutate?: (request: SecretsRequest, before: Conversation) => SecretsRequest;
}

interface Content {
  readonly version: number;
  /** Counts the changes: a version that was withdrawn may come back. */
  readonly change: number;
  /** The client can not use it, and says so. */
  readonly broken: boolean;
}

interface Response {
  readonly nonce: string;
  readonly name: string;
  readonly content: Content;
}

interface Said {
  readonly request: SecretsRequest;
  /** What the client took from the response that it answers. Undefined: nothing. */
  readonly applied: { readonly name: string; readonly version: number } | undefined;
}

export interface SdsModelResult {
  readonly broken: readonly string[];
  readonly proofs: number;
  readonly refusals: number;
  readonly claims: number;
}

const names = ['a', 'b', 'c', 'd'] as const;

export function playSecrets(options: SdsModelOptions): SdsModelResult {
  const model = new SecretsModel(options);
  for (let step = 0; step < options.steps; step += 1) model.step();
  model.settle();
  return model.result;
}

class SecretsModel {
  readonly #options: SdsModelOptions;
  readonly #random: () => number;
  readonly result = { broken: [] as string[], proofs: 0, refusals: 0, claims: 0 };
  readonly #world = new Map<string, Content>(
    names.map((name) => [name, { version: 1, change: 1, broken: false }]),
  );
  /** By name, the content before the present one. */
  readonly #before = new Map<string, Content>();
  // the client
  readonly #wanted = new Set<string>(['a']);
  readonly #held = new Map<string, number>();
  #begun = false;
  #clientNonce = '';
  #said: Said[] = [];
  // the server
  #conversation: Conversation = newConversation;
  #nonces = 0;
  #streams = 0;
  #responses: Response[] = [];
  #underWay: Response | undefined;
  #sent = new Map<string, string>();
  readonly #proven = new Map<string, number>();
  readonly #everSent = new Set<string>();

  constructor(options: SdsModelOptions) {
    this.#options = options;
    this.#random = seeded(options.seed);
    this.#begin();
  }

  step(): void {
    const dice = this.#random();
    if (dice < 0.3) this.#serverHears();
    else if (dice < 0.6) this.#clientReads();
    else if (dice < 0.8) this.#serverSends();
    else if (dice < 0.9) this.#toggle(this.#pick());
    else if (dice < 0.97) this.#change(this.#pick());
    else this.#reconnect();
  }

  /** Until nobody has anything to say: then both sides must agree. */
  settle(): void {
    for (let turn = 0; turn < 200; turn += 1) {
      this.#serverHears();
      this.#serverSends();
      this.#clientReads();
    }
    const wanted = [...this.#wanted].sort().join();
    const served = [...this.#conversation.subscriptions.keys()].sort().join();
    if (this.#begun && wanted !== served) this.#fault(`wanted ${wanted}, served ${served}`);
    for (const name of this.#wanted) {
      const { version, broken } = this.#world.get(name) as Content;
      if (!this.#begun || broken) continue;
      if (this.#held.get(name) !== version) this.#fault(`${name} is not at the newest version`);
      if (this.#proven.get(name) !== version) this.#fault(`${name} is held and not proven`);
    }
  }

  #begin(): void {
    this.#begun = this.#wanted.size > 0;
    if (!this.#begun) return;
    const all = [...this.#wanted];
    const versions = new Map([...this.#held].map(([name, version]) => [name, String(version)]));
    this.#say(
      this.#options.kind === 'full'
        ? { kind: 'full', names: all, nonce: '', refused: undefined }
        : {
            ...{ kind: 'delta', subscribe: all, unsubscribe: [], versions },
            ...{ nonce: '', refused: undefined },
          },
    );
  }

  #toggle(name: string): void {
    const added = !this.#wanted.delete(name);
    if (added) this.#wanted.add(name);
    else this.#held.delete(name);
    if (!this.#begun) return this.#begin();
    this.#say(
      this.#options.kind === 'full'
        ? { kind: 'full', names: [...this.#wanted], nonce: this.#clientNonce, refused: undefined }
        : {
            kind: 'delta',
            subscribe: added ? [name] : [],
            unsubscribe: added ? [] : [name],
            ...{ versions: new Map(), nonce: '', refused: undefined },
          },
    );
  }

  #clientReads(): void {
    const response = this.#responses.shift();
    if (response === undefined) return;
    const { nonce, name, content } = response;
    this.#clientNonce = nonce;
    const wanted = this.#wanted.has(name);
    const refused = wanted && content.broken ? `${name} is broken` : undefined;
    const applied = wanted && !content.broken;
    if (applied) this.#held.set(name, content.version);
    this.#say(
      this.#options.kind === 'full'
        ? { kind: 'full', names: [...this.#wanted], nonce, refused }
        : {
            ...{ kind: 'delta', subscribe: [], unsubscribe: [], versions: new Map() },
            ...{ nonce, refused },
          },
      applied ? { name, version: content.version } : undefined,
    );
  }

  #serverHears(): void {
    const said = this.#said.shift();
    if (said === undefined) return;
    const { mutate = (request: SecretsRequest) => request } = this.#options;
    const next = unwrap(heard(this.#conversation, mutate(said.request, this.#conversation)));
    this.#conversation = next.conversation;
    const { verdict } = next;
    if (verdict.kind === 'none') return;
    const response = this.#underWay as Response;
    this.#underWay = undefined;
    const { name, content } = response;
    if (verdict.nonce !== response.nonce) this.#fault(`${verdict.nonce} is not under way`);
    if (verdict.kind === 'refused') {
      this.result.refusals += 1;
      if (said.request.refused !== verdict.reason) this.#fault('a refusal has another reason');
    } else if (verdict.proof) {
      this.result.proofs += 1;
      this.#proven.set(name, content.version);
      if (said.applied?.name !== name || said.applied.version !== content.version)
        this.#fault(`${name} ${content.version} counts as applied, and is not`);
    }
  }

  #serverSends(): void {
    if (this.#underWay !== undefined) return;
    for (const [name, { epoch, claimed }] of this.#conversation.subscriptions) {
      const content = this.#world.get(name) as Content;
      const mark = `${epoch} ${content.version}`;
      if (this.#sent.get(name) === mark) continue;
      if (claimed === String(content.version)) {
        this.result.claims += 1;
        this.#sent.set(name, mark);
        this.#proven.set(name, content.version);
        continue;
      }
      this.#nonces += 1;
      const once = `${name} ${mark} of change ${content.change} and stream ${this.#streams}`;
      if (this.#everSent.has(once)) this.#fault(`${once} is sent twice`);
      this.#everSent.add(once);
      const response = { nonce: String(this.#nonces), name, content };
      this.#sent.set(name, mark);
      this.#conversation = responded(this.#conversation, response.nonce, name);
      if (subscriptionOf(this.#conversation, name) === undefined) this.#fault(`${name} unwanted`);
      this.#responses.push(response);
      this.#underWay = response;
      return;
    }
  }

  #reconnect(): void {
    this.#streams += 1;
    this.#conversation = newConversation;
    this.#nonces = 0;
    this.#sent = new Map();
    this.#underWay = undefined;
    this.#responses = [];
    this.#said = [];
    this.#clientNonce = '';
    this.#begin();
  }

  #change(name: string): void {
    const now = this.#world.get(name) as Content;
    const before = this.#before.get(name);
    const change = now.change + 1;
    const withdrawn = before !== undefined && this.#random() < 0.3;
    this.#before.set(name, now);
    this.#world.set(
      name,
      withdrawn ? { ...before, change } : { version: change, change, broken: this.#random() < 0.2 },
    );
  }

  #say(request: SecretsRequest, applied?: Said['applied']): void {
    this.#said.push({ request, applied });
  }

  #pick = (): string => names[Math.floor(this.#random() * names.length)] as string;

  #fault(text: string): void {
    this.result.broken.push(text);
  }
}
