import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type ClientHttp2Stream,
} from 'node:http2';
import { connect } from 'node:net';
import { sdsContract } from '../../src/common/wire/index.ts';

const { StreamSecrets } =
  sdsContract().packages.envoy.service.secret.v3.SecretDiscoveryService.service;

/** A secret as it came, not decoded: many streams must cost their client little. */
export interface ReceivedSecret {
  readonly version: string;
  readonly nonce: string;
  readonly message: Buffer;
}

export type Answer = 'acknowledge' | { readonly refuse: string };

export interface SdsStreamOptions {
  readonly node: string;
  readonly name: string;
  readonly onSecret: (secret: ReceivedSecret) => Answer;
  /** The stream has ended, whoever ended it; the server's words, if it ended it. */
  readonly onEnd: (reason: string) => void;
}

const framed = (message: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
};

/** One connection of a proxy to an agent. Ends with `destroy`. */
export function connectSds(path: string): ClientHttp2Session {
  const session = connectHttp2('http://localhost', { createConnection: () => connect(path) });
  session.on('error', () => {});
  return session;
}

/** StreamSecrets for one name, as Envoy opens it. Owner of the stream. */
export class SdsStream {
  readonly #options: SdsStreamOptions;
  readonly #stream: ClientHttp2Stream;
  #rest: Buffer = Buffer.alloc(0);

  constructor(session: ClientHttp2Session, options: SdsStreamOptions) {
    this.#options = options;
    this.#stream = session.request({
      ':method': 'POST',
      ':path': StreamSecrets.path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    this.#stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    this.#stream.on('error', () => {});
    let reason = '';
    const told = (headers: Readonly<Record<string, unknown>>): void => {
      reason = String(headers['grpc-message'] ?? reason);
    };
    this.#stream.on('response', told);
    this.#stream.on('trailers', told);
    // the server has ended its side; until this one ends too, the stream is open for Node
    this.#stream.on('end', () => this.#stream.close());
    this.#stream.on('close', () => options.onEnd(decodeURIComponent(reason)));
    const { node, name } = options;
    this.#send({ node: { id: node, cluster: 'test' }, resourceNames: [name] });
  }

  end(): void {
    this.#stream.close();
  }

  #send(request: object): void {
    if (!this.#stream.destroyed)
      this.#stream.write(framed(StreamSecrets.requestSerialize(request)));
  }

  #receive(chunk: Buffer): void {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
      const end = 5 + rest.readUInt32BE(1);
      this.#answer(rest.subarray(5, end));
      rest = rest.subarray(end);
    }
    this.#rest = rest;
  }

  #answer(message: Buffer): void {
    const [version, nonce] = [textOf(message, 1), textOf(message, 5)];
    const answer = this.#options.onSecret({ version, nonce, message });
    const { name } = this.#options;
    this.#send({
      resourceNames: [name],
      responseNonce: nonce,
      ...(answer === 'acknowledge'
        ? { versionInfo: version }
        : { errorDetail: { code: 13, message: answer.refuse } }),
    });
  }
}

/** The text of a field of a protobuf message whose fields are all of length-delimited types. */
function textOf(message: Buffer, field: number): string {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const octet = message[at++] as number;
      value += (octet & 0x7f) * 2 ** shift;
      if (octet < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const end = varint() + at;
    if (tag >> 3 === field) return message.toString('utf8', at, end);
    at = end;
  }
  return '';
}

/** The PEM of the certificates in a secret: a chain, or the roots of all its trust domains. */
export function certificatesIn({ message }: ReceivedSecret): readonly string[] {
  const { resources } = StreamSecrets.responseDeserialize(message);
  return resources.flatMap(({ value }) => {
    const { tlsCertificate, validationContext } = value ?? {};
    const domains = validationContext?.customValidatorConfig?.typedConfig?.value?.trustDomains;
    const sources = [
      tlsCertificate?.certificateChain,
      validationContext?.trustedCa,
      ...(domains ?? []).map(({ trustBundle }) => trustBundle),
    ];
    const text = sources.map((each) => String(each?.inlineBytes ?? '')).join('');
    return text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  });
}
