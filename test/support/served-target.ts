import { chmodSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { unwrap } from '../../src/common/errors/index.ts';
import type { FileTarget } from '../../sidecar/files/target.ts';
import { plainLayout, plainPermissions } from './certificate-sets.ts';
import {
  newAuthorities,
  postgresUser,
  setFiles,
  type RunningServer,
  type ServedDirectory,
} from './servers/index.ts';
import { contentOf, plannedSet, setsOf, type PlannedSet } from './served-delivery.ts';
import { patienceMs } from './until.ts';

/** A real server with a first set in its directory, for deliveries of a test. */
export class ServedTarget implements ServedDirectory, AsyncDisposable {
  readonly path: string;
  readonly journalDirectory: string;
  readonly authorities = newAuthorities();
  readonly first: PlannedSet = plannedSet(this.authorities);
  readonly #folder: string;
  #server: RunningServer | undefined;

  private constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), 'meshca-target-'));
    this.path = mkdtempSync(join(tmpdir(), 'meshca-target-'));
    chmodSync(this.path, 0o755);
    this.journalDirectory = this.#folder;
  }

  static async start(
    start: (directory: ServedDirectory) => Promise<RunningServer>,
  ): Promise<ServedTarget> {
    const served = new ServedTarget();
    try {
      const sets = setsOf(served.target());
      unwrap(await sets.swap(unwrap(await sets.write(contentOf(served.first)))));
      served.#server = await start(served);
      return served;
    } catch (thrown) {
      await served[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  get server(): RunningServer {
    if (this.#server === undefined) throw new Error('the server does not run');
    return this.#server;
  }

  get currentSerial(): string {
    return basename(readlinkSync(join(this.path, 'current'))).replace(/^\d+-/, '');
  }

  file(kind: keyof typeof setFiles): string {
    return join(this.path, 'current', setFiles[kind]);
  }

  /** The target as an agent has it from its configuration. */
  target(change: Partial<FileTarget> = {}): FileTarget {
    const server = this.#server;
    const owner = server === undefined || server.name === 'postgresql' ? postgresUser : undefined;
    return {
      name: 'server',
      directory: this.path,
      spiffeId: undefined,
      keyType: 'ec-p256',
      layout: plainLayout,
      permissions: { ...plainPermissions, directoryMode: 0o755, uid: owner, gid: owner },
      driver: {
        type: server?.driver.type ?? 'exec',
        settings: server?.driver.settings ?? {},
        timeoutSeconds: 30,
      },
      listeners: server === undefined ? [] : [server.listener],
      // what is shown is proven however slow the machine is
      proof: { handshakes: 3, timeoutSeconds: patienceMs / 1000 },
      rollout: undefined,
      promote: 'automatic',
      graceSeconds: 100_000,
      ...change,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    rmSync(this.path, { recursive: true, force: true });
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
