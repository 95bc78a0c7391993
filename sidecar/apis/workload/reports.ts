import { PkiError } from '../../../src/common/errors/index.ts';
import type { ReportRequest__Output } from '../../../src/common/wire/generated/meshca/workload/v1/ReportRequest.ts';
import type { ReportResponse } from '../../../src/common/wire/generated/meshca/workload/v1/ReportResponse.ts';
import type { HandshakeCount__Output } from '../../../src/common/wire/generated/meshca/workload/v1/HandshakeCount.ts';
import type { Session, StreamConsumers, StreamHandle } from '../../local-server/index.ts';
import type { HandshakeCount } from '../../ports/handshakes.ts';

/** The metadata by which a stream names its client. Other agents ignore it. */
const clientKey = 'meshca-client';
const clientPattern = /^[0-9A-Za-z-]{8,64}$/;
const maximumClients = 9000;
const maximumCounts = 100;
const maximumReasons = 50;
const statable: ReadonlySet<string> = new Set(['enforces-crl', 'reports-handshakes']);

interface Client {
  readonly holder: string;
  readonly consumers: StreamConsumers;
}

const processOf = ({ connection }: Session): string =>
  `${connection.pid} ${connection.peer?.image.startTime ?? ''}`;

/**
 * Clients of the Workload API that report their handshakes. Owner of the link from a client to its
 * stream.
 */
export class Clients {
  readonly #onHandshakes: (count: HandshakeCount) => void;
  readonly #clients = new Map<string, Client>();

  constructor(onHandshakes: (count: HandshakeCount) => void) {
    this.#onHandshakes = onHandshakes;
  }

  /**
   * Links the stream to the client that it names, and ignores malformed names. Returns the function
   * that ends the link.
   */
  enter({ session, metadata, consumers }: StreamHandle): () => void {
    const [id, ...more] = metadata.get(clientKey);
    if (more.length > 0 || typeof id !== 'string' || !clientPattern.test(id)) return () => {};
    consumers.expectLoading();
    const client = { holder: processOf(session), consumers };
    // an ID stays with the process that used it first
    const taken = this.#clients.get(id);
    if (
      (taken !== undefined && taken.holder !== client.holder) ||
      this.#clients.size >= maximumClients
    )
      return () => {};
    this.#clients.set(id, client);
    return () => {
      if (this.#clients.get(id) === client) this.#clients.delete(id);
    };
  }

  async report(session: Session, request: ReportRequest__Output): Promise<ReportResponse> {
    checkReport(request);
    const { identities } = await session.grant();
    if (!identities.some(({ spiffeId }) => spiffeId.toString() === request.spiffeId))
      throw new PkiError('INVALID_REQUEST', 'a client reports for its own identity');
    const client = this.#clients.get(request.clientId);
    if (client === undefined || client.holder !== processOf(session))
      throw new PkiError('NOT_FOUND', 'no stream of this process is open under this client ID');
    const { consumers } = client;
    consumers.capable(request.capabilities.filter((capability) => statable.has(capability)));
    if (request.loaded?.refusedReason)
      consumers.refused(`the client refused the update: ${request.loaded.refusedReason}`);
    else if (request.loaded?.authoritySetDigest.length === 32)
      consumers.loaded(request.loaded.authoritySetDigest);
    if (request.keepsNothing) consumers.keepsNothing();
    const consumerId = consumers.lineOf(request.spiffeId);
    if (consumerId === undefined || consumerId === '') return {};
    const { spiffeId } = request;
    for (const { issuerKeyId, succeeded, failed, reasons, since } of request.handshakes) {
      const counts = { issuerKeyId, succeeded, failed, reasons, since };
      this.#onHandshakes({ consumerId, spiffeId, ...counts });
    }
    return {};
  }
}

function checkReport({ clientId, capabilities, handshakes, loaded }: ReportRequest__Output): void {
  if (!clientPattern.test(clientId))
    throw new PkiError('INVALID_REQUEST', 'the client ID is not one');
  if (capabilities.length > 20)
    throw new PkiError('INVALID_REQUEST', 'a client states at most 20 capabilities');
  if ((loaded?.refusedReason.length ?? 0) > 1000)
    throw new PkiError('INVALID_REQUEST', 'the reason is too long');
  if (handshakes.length > maximumCounts)
    throw new PkiError('INVALID_REQUEST', `a report has at most ${maximumCounts} counts`);
  if (!handshakes.every(isCount))
    throw new PkiError('INVALID_REQUEST', 'a count of handshakes is not one');
}

/** Whether the server accepts the count. A refused count would cost the agent its whole report. */
function isCount({
  issuerKeyId,
  succeeded,
  failed,
  reasons,
  since,
}: HandshakeCount__Output): boolean {
  const names = Object.keys(reasons);
  return (
    issuerKeyId.length <= 64 &&
    names.length <= maximumReasons &&
    names.every((name) => /^[\x21-\x7e]{1,100}$/.test(name)) &&
    [succeeded, failed, since, ...Object.values(reasons)].every(
      (number) => Number.isSafeInteger(number) && number >= 0,
    )
  );
}
