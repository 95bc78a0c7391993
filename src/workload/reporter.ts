import { status, type ServiceError } from '@grpc/grpc-js';
import { uuidv7 } from '../common/runtime/index.ts';
import { reportsContract } from '../common/wire/load.ts';
import type { ReportRequest } from '../common/wire/generated/meshca/workload/v1/ReportRequest.ts';
import type { ReportsClient } from '../common/wire/generated/meshca/workload/v1/Reports.ts';
import { securityHeader, type SourceContext } from './client.ts';
import type { Counters } from './counters.ts';

/** Counters are reported at most once in this time. */
const intervalMs = 5000;
const retryMs = 1000;
const deadlineMs = 5000;
const maximumReasonLength = 300;

/**
 * Reports to our agent, on the socket of the Workload API, which update is in force and how
 * handshakes went, so that workloads prove a rotation and can stop a canary. Other agents do not
 * have that service, and then nothing more is reported. A failure here never fails the source.
 */
export class Reporter {
  /** Identifies this source to the agent. Random, and not secret. */
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
    // on the connection of the stream, by which the agent identifies a process
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

  /** Reports a refused update. The former state stays in force. */
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
