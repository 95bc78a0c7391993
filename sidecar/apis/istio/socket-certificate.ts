import { constants } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { PkiError } from '../../../src/common/errors/index.ts';
import { errorFields, type Logger } from '../../../src/common/runtime/index.ts';
import { selectorText, type SpiffeId } from '../../../src/common/spiffe/index.ts';
import { certificatesToPem, pemEncode } from '../../../src/common/x509/index.ts';
import type { Attestor } from '../../attest/index.ts';
import type { ShownCertificate } from '../../local-server/index.ts';
import type { AgentEntry, EntryCache } from '../../ports/entries.ts';
import type { SvidManager, SvidSubscription } from '../../ports/svids.ts';

/** Entries that a warning names. */
const maximumNamed = 20;

export interface SocketCertificateDependencies {
  readonly attestor: Attestor;
  readonly entries: EntryCache;
  readonly svids: SvidManager;
  /** The identity that an entry must give to the agent's own process. */
  readonly spiffeId: SpiffeId;
  /** The name that clients expect. */
  readonly dnsName: string;
  /** The agent's own process. */
  readonly pid: number;
  readonly logger: Logger;
}

/**
 * The certificate of the socket on which Istio's clients speak TLS. The agent has no right to such a
 * name by itself: it attests its own process like any other, and an entry gives the name. Owner of
 * the subscription.
 */
export class SocketCertificate implements ShownCertificate, Disposable {
  readonly #dependencies: SocketCertificateDependencies;
  readonly #stopWatching: () => void;
  #subscription: SvidSubscription | undefined;
  #built: { readonly serial: string; readonly context: SecureContext } | undefined;
  #looking: Promise<void> = Promise.resolve();
  #told = '';
  #toldOthers = '';
  #stopped = false;

  constructor(dependencies: SocketCertificateDependencies) {
    this.#dependencies = dependencies;
    this.#stopWatching = dependencies.entries.onChange(() => this.#lookSoon());
    this.#lookSoon();
  }

  context(): SecureContext | undefined {
    const svid = this.#subscription?.current();
    if (svid === undefined) return undefined;
    if (this.#built?.serial !== svid.serial)
      this.#built = {
        serial: svid.serial,
        context: createSecureContext({
          cert: certificatesToPem(svid.chainDer),
          key: pemEncode('PRIVATE KEY', svid.privateKeyPkcs8Der),
          minVersion: 'TLSv1.3',
          // a resumed session would outlive the certificate
          secureOptions: constants.SSL_OP_NO_TICKET,
        }),
      };
    return this.#built.context;
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    this.#stopWatching();
    this.#take(undefined);
  }

  #lookSoon(): void {
    this.#looking = this.#looking
      .then(() => this.#look())
      .catch((thrown: unknown) => {
        this.#take(undefined);
        this.#tell(PkiError.from(thrown));
      });
  }

  async #look(): Promise<void> {
    const { attestor, entries, svids, spiffeId, dnsName, pid } = this.#dependencies;
    if (this.#stopped || !entries.synced()) return;
    this.#tellOthers();
    using peer = attestor.open(pid);
    const { selectors } = await attestor.attest(peer, (known, prefixes) =>
      entries.wanted(known, prefixes),
    );
    if (this.#stopped) return;
    const identity = entries.match(selectors).find((each) => each.spiffeId.equals(spiffeId));
    if (identity === undefined)
      throw new PkiError(
        'NO_IDENTITY',
        `no entry gives ${spiffeId.toString()} to the agent itself; its selectors are ` +
          `${selectors.map(selectorText).join(', ')}`,
        { next: `Create an entry with them, and with the DNS name ${dnsName}.` },
      );
    if (!names(identity.entry, dnsName))
      throw new PkiError(
        'NO_IDENTITY',
        `the entry ${identity.entry.id} lacks the DNS name ${dnsName}, which Istio's clients expect`,
        { next: `Add ${dnsName} to the DNS names of the entry.` },
      );
    // taken again at each change: an entry that went and came back needs a new subscription
    this.#take(svids.acquire(identity, selectors));
    this.#told = '';
  }

  #take(subscription: SvidSubscription | undefined): void {
    const before = this.#subscription;
    this.#subscription = subscription;
    before?.release();
  }

  /** Who holds the name of this socket can pose as it. Once, until those entries change. */
  #tellOthers(): void {
    const { entries, spiffeId, dnsName, logger } = this.#dependencies;
    const others: string[] = [];
    for (const entry of entries.all())
      if (names(entry, dnsName) && entry.spiffeId !== spiffeId.toString()) others.push(entry.id);
    const told = others.toSorted().slice(0, maximumNamed).join(' ');
    if (told === this.#toldOthers) return;
    this.#toldOthers = told;
    if (others.length === 0) return;
    logger.warn(
      {
        ...{ dnsName, count: others.length, entries: told.split(' ') },
        next: `Take the DNS name ${dnsName} from these entries.`,
      },
      'other entries of this node have the DNS name of the socket for Istio: their processes can pose as it',
    );
  }

  /** Once, until the reason changes. */
  #tell(error: PkiError): void {
    if (this.#told === error.message) return;
    this.#told = error.message;
    this.#dependencies.logger.warn(
      { ...errorFields(error) },
      'the socket for Istio has no certificate, and closes connections',
    );
  }
}

const names = ({ dnsNames }: AgentEntry, dnsName: string): boolean =>
  dnsNames.some((each) => each.toLowerCase() === dnsName);
