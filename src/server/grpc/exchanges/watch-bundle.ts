import type { ServerDuplexStream } from '@grpc/grpc-js';
import { PkiError } from '../../../common/errors/index.ts';
import type { WatchBundleRequest__Output } from '../../../common/wire/generated/meshca/signing/v1/WatchBundleRequest.ts';
import type { WatchBundleResponse } from '../../../common/wire/generated/meshca/signing/v1/WatchBundleResponse.ts';
import type { WatchReport__Output } from '../../../common/wire/generated/meshca/signing/v1/WatchReport.ts';
import type { DelegateCaller } from '../../../services/callers/caller.ts';
import type { Replacements } from '../../../common/wire/generated/meshca/signing/v1/Replacements.ts';
import type {
  ReplacementPart,
  Watch,
  WatchConnection,
  WatchMessage,
  WatchReport,
  WatchTransport,
} from '../../../services/services.ts';
import { InTurns } from './in-turns.ts';

type WatchCall = ServerDuplexStream<WatchBundleRequest__Output, WatchBundleResponse>;

export function watchBundle(
  watch: Pick<Watch, 'open'>,
  caller: DelegateCaller,
  call: WatchCall,
  fail: (thrown: unknown) => void,
): void {
  new WatchStream((hello, transport) => watch.open(caller, hello, transport), call, fail);
}

type Open = (
  hello: Parameters<Watch['open']>[1],
  transport: WatchTransport,
) => Promise<WatchConnection>;

/** Handles the messages of a control plane one at a time, in order. Owner of the connection. */
class WatchStream implements WatchTransport {
  readonly #open: Open;
  readonly #call: WatchCall;
  readonly #refuse: (thrown: unknown) => void;
  #connection: WatchConnection | undefined;
  #over = false;

  constructor(open: Open, call: WatchCall, refuse: (thrown: unknown) => void) {
    this.#open = open;
    this.#call = call;
    this.#refuse = refuse;
    const turns = new InTurns<WatchBundleRequest__Output>(
      call,
      (message) => this.#handle(message),
      (thrown) => this.#fail(thrown),
    );
    call.on('data', (message: WatchBundleRequest__Output) => turns.take(message));
    call.on('drain', () => this.#connection?.drained());
    call.on('end', () => void turns.handled().then(() => this.#finish()));
    for (const event of ['cancelled', 'close', 'error'] as const)
      call.on(event, () => this.#close());
  }

  send(message: WatchMessage): boolean {
    return this.#over || this.#call.write(messageOf(message));
  }

  close(error: PkiError): void {
    this.#fail(error);
  }

  async #handle({ hello, report }: WatchBundleRequest__Output): Promise<void> {
    if (this.#over) return;
    if (hello) {
      if (this.#connection !== undefined)
        throw new PkiError('INVALID_REQUEST', 'a second hello on one stream');
      this.#connection = await this.#open(hello, this);
      // TypeScript does not see that the stream may have ended meanwhile
      if (this.#over as boolean) this.#connection.closed();
      return;
    }
    if (this.#connection === undefined)
      throw new PkiError('INVALID_REQUEST', 'the first message of the stream must be its hello');
    if (!report) throw new PkiError('INVALID_REQUEST', 'a message of the stream is empty');
    await this.#connection.report(reportOf(report));
  }

  #finish(): void {
    this.#close();
    this.#call.end();
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

const digestsOf = (of: {
  readonly authoritySetDigest: Buffer;
  readonly jwtSetDigest: Buffer;
}): { readonly authoritySetDigest: string; readonly jwtSetDigest: string } => ({
  authoritySetDigest: of.authoritySetDigest.toString('hex'),
  jwtSetDigest: of.jwtSetDigest.toString('hex'),
});

const reportOf = (report: WatchReport__Output): WatchReport => ({
  ...report,
  ...digestsOf(report),
  consumers: report.consumers.map((consumer) => ({ ...consumer, ...digestsOf(consumer) })),
});

const replacementsOf = ({ certificates, ...part }: ReplacementPart): Replacements => ({
  ...part,
  certificates: certificates.map((each) => ({
    ...each,
    dnsNames: [...each.dnsNames],
    ips: [...each.ips],
  })),
});

const messageOf = ({
  trust,
  crls,
  taints,
  renewNow,
  replacements,
}: WatchMessage): WatchBundleResponse => ({
  ...(replacements === undefined ? {} : { replacements: replacementsOf(replacements) }),
  ...(trust === undefined
    ? {}
    : {
        trust: {
          trustDomain: trust.trustDomainName,
          sequence: trust.sequence,
          rootsDer: [...trust.rootsDer],
          jwtKeys: [...trust.jwtKeys],
        },
      }),
  ...(crls === undefined ? {} : { crls: { crls: [...crls.crls], onlyHttp: crls.onlyHttp } }),
  ...(taints === undefined
    ? {}
    : {
        taints: {
          authorities: taints.map(({ subjectKeyId, ...taint }) => ({
            ...taint,
            subjectKeyId: Buffer.from(subjectKeyId, 'hex'),
          })),
        },
      }),
  ...(renewNow === undefined
    ? {}
    : { renewNow: { ownCertificate: renewNow.ownCertificate, items: [...renewNow.items] } }),
});
