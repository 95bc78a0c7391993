import { nextTurn } from '../common/runtime/index.ts';
import { openAuthorities } from './authorities.ts';
import { startBackgroundWork } from './background.ts';
import { serverContext, type ServerDependencies } from './context.ts';
import { openDoors } from './doors.ts';
import { openIssuing } from './issuing.ts';
import { LateEdges } from './late-edges.ts';
import { openServices } from './services.ts';
import { openStoreAndLog } from './store-and-log.ts';
import { openTokens, type PinChange } from './tokens.ts';

export interface RunningServer extends AsyncDisposable {
  /**
   * 0 until there is an issuing authority: without its own certificate the server opens no TLS
   * port.
   */
  readonly port: number;
  readonly opsPort: number;
  /** 0 for a listener that is not open. */
  readonly httpPorts: { readonly plain: number; readonly tls: number };
  /** The bundle endpoints. 0 for one that is not open. */
  readonly federationPorts: { readonly web: number; readonly spiffe: number };
  readonly adminSocketPath: string;
  /** Process IDs of the signers, for drills. */
  signerPids(): readonly number[];
  /**
   * Reads certificates of ports and PINs again, from the files that the configuration names. All
   * are read before one is taken into use. Resolves to what the tokens answered to new PINs.
   *
   * @throws PkiError CONFIG_INVALID, HSM_PIN_MISSING, HSM_PIN_FILE_OPEN, UPSTREAM_*; then nothing
   *   has changed
   */
  reload(): Promise<readonly PinChange[]>;
  /** For drills: invalidates all HSM sessions. */
  invalidateSessions(): void;
}

/**
 * Starts a server, stage by stage. Each stage uses the lower ones. If a stage fails, the lower ones
 * are stopped in reverse order.
 */
export async function startServer(dependencies: ServerDependencies): Promise<RunningServer> {
  await using stack = new AsyncDisposableStack();
  const context = serverContext(dependencies);
  await nextTurn();
  const late = new LateEdges();
  const tokens = stack.use(await openTokens(context));
  const records = stack.use(await openStoreAndLog(context, tokens));
  const authorities = stack.use(await openAuthorities({ context, tokens, records }, late));
  const issuing = stack.use(openIssuing({ context, tokens, records, authorities }));
  const stages = { context, tokens, records, authorities, issuing };
  const service = stack.use(await openServices(stages, late));
  await nextTurn();
  const doors = stack.use(await openDoors({ ...stages, service }));
  stack.use(await startBackgroundWork({ ...stages, service, doors }));

  const { signers } = tokens.gate;
  const owned = stack.move();
  return {
    get port() {
      return doors.port();
    },
    opsPort: doors.opsPort,
    get httpPorts() {
      return doors.httpPorts();
    },
    get federationPorts() {
      return doors.federationPorts();
    },
    adminSocketPath: doors.adminSocketPath,
    signerPids: () => signers.pids(),
    reload: async () => {
      const { http, operations, federation } = doors.identities;
      const renewals = [http, operations, federation].map((identity) => identity?.prepare());
      const changePins = await tokens.readPins();
      for (const renew of renewals) renew?.();
      return changePins();
    },
    invalidateSessions: () => signers.invalidateSessions(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
