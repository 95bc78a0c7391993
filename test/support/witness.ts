import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  checkNote,
  parseCheckpoint,
  parseVerifierKey,
  signatureLine,
  verifyConsistency,
  type NoteKey,
} from '../../src/common/tlog/index.ts';
import { unwrap } from '../../src/common/errors/index.ts';

/**
 * A witness as C2SP tlog-witness describes it, with its state in a file: one known log key,
 * cosignature/v1 with Ed25519.
 */
export class TestWitness implements AsyncDisposable {
  readonly key: string;
  readonly requests: { readonly old: number; readonly status: number }[] = [];
  /** What it does instead, for tests of those who ask it. */
  mood: 'honest' | 'broken' | 'wrong-key' | 'late' | 'silent' = 'honest';
  readonly #name: string;
  readonly #statePath: string;
  readonly #server: Server;
  readonly #pair = generateKeyPairSync('ed25519');
  readonly #other = generateKeyPairSync('ed25519');
  #logKeys: readonly NoteKey[] = [];

  private constructor(name: string, statePath: string) {
    this.#name = name;
    this.#statePath = statePath;
    const raw = this.#pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
    const id = createHash('sha256')
      .update(`${name}\n`)
      .update(Buffer.from([4]))
      .update(raw)
      .digest()
      .subarray(0, 4);
    this.key = `${name}+${id.toString('hex')}+${Buffer.concat([Buffer.from([4]), raw]).toString('base64')}`;
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        if (this.mood === 'silent') return;
        const answer =
          request.method === 'POST' && request.url === '/w/add-checkpoint'
            ? this.#add(Buffer.concat(chunks).toString('utf8'))
            : { status: 404, body: '' };
        response
          .writeHead(answer.status, { 'content-type': answer.type ?? 'text/plain' })
          .end(answer.body);
      });
    });
  }

  static async start(name: string, statePath: string): Promise<TestWitness> {
    const witness = new TestWitness(name, statePath);
    await new Promise<void>((resolve) => witness.#server.listen(0, '127.0.0.1', resolve));
    return witness;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/w`;
  }

  /** From now on it knows this log. */
  know(verifierKey: string): void {
    this.#logKeys = [...this.#logKeys, unwrap(parseVerifierKey(verifierKey))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #state(): Record<string, { readonly size: number; readonly root: string }> {
    return existsSync(this.#statePath)
      ? (JSON.parse(readFileSync(this.#statePath, 'utf8')) as Record<
          string,
          { size: number; root: string }
        >)
      : {};
  }

  #add(body: string): { readonly status: number; readonly body: string; readonly type?: string } {
    const answer = this.#judge(body);
    this.requests.push({
      old: Number(/^old ([0-9]+)/.exec(body)?.[1] ?? -1),
      status: answer.status,
    });
    return answer;
  }

  #judge(body: string): { readonly status: number; readonly body: string; readonly type?: string } {
    if (this.mood === 'broken') return { status: 500, body: 'broken' };
    const split = body.indexOf('\n\n');
    const [oldLine, ...proofLines] = body.slice(0, split).split('\n');
    const parsed = parseCheckpoint(body.slice(split + 2));
    const match = /^old (0|[1-9][0-9]*)$/.exec(oldLine ?? '');
    if (match === null || !parsed.ok || proofLines.length > 63) return { status: 400, body: '' };
    const checkpoint = parsed.value;
    const known = this.#logKeys.filter(({ name }) => name === checkpoint.origin);
    if (known.length === 0) return { status: 404, body: '' };
    if (!known.some((key) => checkNote(checkpoint.note, key) === 'valid'))
      return { status: 403, body: '' };
    const old = Number(match[1]);
    if (old > checkpoint.size) return { status: 400, body: '' };
    const state = this.#state();
    const latest = state[checkpoint.origin] ?? {
      size: 0,
      root: createHash('sha256').digest('base64'),
    };
    if (old !== latest.size)
      return { status: 409, body: `${latest.size}\n`, type: 'text/x.tlog.size' };
    if (old === checkpoint.size && latest.root !== checkpoint.root.toString('base64'))
      return { status: 409, body: `${latest.size}\n`, type: 'text/x.tlog.size' };
    const proof = proofLines.map((line) => Buffer.from(line, 'base64'));
    if (
      !verifyConsistency({
        from: old,
        to: checkpoint.size,
        fromRoot: Buffer.from(latest.root, 'base64'),
        toRoot: checkpoint.root,
        proof,
      })
    )
      return { status: 422, body: '' };
    writeFileSync(
      this.#statePath,
      JSON.stringify({
        ...state,
        [checkpoint.origin]: { size: checkpoint.size, root: checkpoint.root.toString('base64') },
      }),
    );
    const time = Buffer.alloc(8);
    time.writeBigUInt64BE(
      BigInt(Math.floor(Date.now() / 1000) - (this.mood === 'late' ? 86_400 : 0)),
    );
    const message = Buffer.from(
      `cosignature/v1\ntime ${time.readBigUInt64BE()}\n${checkpoint.note.text}`,
    );
    const signature = Buffer.concat([
      time,
      sign(null, message, (this.mood === 'wrong-key' ? this.#other : this.#pair).privateKey),
    ]);
    const { id } = unwrap(parseVerifierKey(this.key));
    return {
      status: 200,
      body:
        signatureLine({ name: 'someone.else/w', keyId: Buffer.alloc(4), signature }) +
        signatureLine({ name: this.#name, keyId: id, signature }),
    };
  }
}
