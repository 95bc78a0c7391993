import { status, type ServiceError } from '@grpc/grpc-js';
import { uuidv7 } from '../common/runtime/index.ts';
import { reportsContract } from '../common/wire/load.ts';
import type { ReportRequest } from '../common/wire/generated/meshca/workload/v1/ReportRequest.ts';
import type { ReportsClient } from '../common/wire/generated/meshca/workload/v1/Reports.ts';
import { securityHeader, type SourceContext } from './client.ts';
import type { Counters } from './counters.ts';

/** Counters go up at most so often. */
const intervalMs = 5000;
const retryMs = 1000;
const deadlineMs = 5000;
const maximumReasonLength = 300;

/**
 * Tells our agent, on the socket of the Workload API, which update is in force here and how
 * handshakes went, so that a rotation can be proven by what workloads use and a canary can be
 * stopped by what they see. Another agent does not offer that service: then nothing is said again.
 * Never a reason to fail.
 */
export class Reporter {
  /** Names this source towards the agent; random, and no secret. */
  readonly clientId: string;
  readonly #context: SourceContext;
  readonly #client: ReportsClient;
  readonly #counters: Counters;
  readonly #capabilities: readonly string[];
  readonly #since: number;
  #spiffeId = '';
  #loaded: { readonly authoritySetDigest: Buffer; readonly refusedReason: string } | undefined;
  #cancelTimer: (() => void) | undefined;
  #underWay = false;
  #due = false;
  #ended = false;

  constructor(context: SourceContext, counters: Counters, capabilities: readonly string[]) {
    this.#context = context;
    this.#counters = counters;
    this.#capabilities = capabilities;
    this.#since = context.clock.now();
    this.clientId = uuidv7(context.clock.nowMs());
    // on the connection that the stream has: the agent knows a process by its connection
    this.#client = new (reportsContract().packages.meshca.workload.v1.Reports)(
      context.endpoint.grpcTarget,
      null as never,
      { channelOverride: context.client.getChannel() },
    );
    counters.onChange = () => this.#later(intervalMs);
  }

  loaded(spiffeId: string, authoritySetDigest: Buffer): void {
    this.#spiffeId = spiffeId;
    this.#loaded = { authoritySetDigest, refusedReason: '' };
    this.#send();
  }

  /** An update was refused; what was held before stays in force. */
  refused(reason: string): void {
    if (this.#spiffeId === '') return;
    this.#loaded = {
      authoritySetDigest: Buffer.alloc(0),
      refusedReason: reason.slice(0, maximumReasonLength),
    };
    this.#send();
  }

  close(): void {
    this.#ended = true;
    this.#cancelTimer?.();
    this.#counters.onChange = undefined;
  }

  #later(delayMs: number): void {
    if (this.#ended || this.#spiffeId === '') return;
    this.#cancelTimer ??= this.#context.clock.after(delayMs, () => {
      this.#cancelTimer = undefined;
      this.#send();
    });
  }

  #send(): void {
    if (this.#ended) return;
    if (this.#underWay) {
      this.#due = true;
      return;
    }
    this.#underWay = true;
    this.#due = false;
    const request: ReportRequest = {
      clientId: this.clientId,
      spiffeId: this.#spiffeId,
      capabilities: [...this.#capabilities],
      ...(this.#loaded === undefined ? {} : { loaded: this.#loaded }),
      handshakes: this.#counters.byIssuer().map(({ issuerKeyId, succeeded, failed, reasons }) => ({
        issuerKeyId: Buffer.from(issuerKeyId, 'hex'),
        succeeded,
        failed,
        reasons,
        since: this.#since,
      })),
    };
    this.#client.report(
      request,
      securityHeader(),
      { deadline: Date.now() + deadlineMs },
      (error: ServiceError | null) => {
        this.#underWay = false;
        if (error?.code === status.UNIMPLEMENTED) this.close();
        else if (error !== null) this.#later(retryMs);
        if (this.#due) this.#send();
      },
    );
  }
}
