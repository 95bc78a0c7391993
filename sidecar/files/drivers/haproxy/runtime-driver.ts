import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PkiError, fail, ok, type Result } from '../../../../src/common/errors/index.ts';
import type { Clock } from '../../../../src/common/runtime/index.ts';
import type { StoredSet } from '../../certificate-set.ts';
import type { Applied, DriverCall } from '../../driver.ts';
import { isAway } from '../local-address.ts';
import { checkSocket } from '../program-check.ts';
import { ReloadingDriver, unknownTrust } from '../reloading-driver.ts';
import { said } from '../said.ts';
import { plainSerial, sameSerials, serialsOf } from '../serials.ts';
import { asPayload, storeName, tell } from './cli.ts';
import type { HaproxyReloadDriver } from './reload-driver.ts';

export interface RuntimeOptions {
  readonly socket: string;
  readonly certificateName: string | undefined;
  readonly rootsName: string | undefined;
  /** Takes over where the roots change. */
  readonly reloading: HaproxyReloadDriver | undefined;
  readonly clock: Clock;
}

/** What HAProxy says it uses. */
interface Used {
  readonly leaf: string | undefined;
  /** Undefined: it has no such ca-file in use. */
  readonly roots: readonly string[] | undefined;
}

const lookMs = 50;

/**
 * HAProxy takes a certificate over its runtime API, in memory; the files on disk are for its next
 * start. A commit loads the certificate with its key and answers "Success!"; one that it refuses
 * leaves a transaction, which is aborted. HAProxy then shows the serials of what it uses, of the leaf
 * and of all roots: these are compared with the set, so that `loaded` is what HAProxy showed.
 *
 * Changed roots come by a reload of HAProxy, and never by "commit ssl ca-file": in versions up to 2.6
 * and a part of later ones the worker crashes when a commit of a ca-file follows one of a certificate.
 */
export class HaproxyRuntimeDriver extends ReloadingDriver {
  readonly #options: RuntimeOptions;

  constructor(options: RuntimeOptions) {
    super();
    this.#options = options;
  }

  override stage(call: DriverCall, signal: AbortSignal): Promise<Result<void>> {
    return this.#unlessAway<void>(undefined, async () => {
      checkSocket(this.#options.socket);
      const { certificate } = this.#names(call);
      const { leaf, roots } = await this.#used(call, signal);
      if (leaf === undefined)
        return fail('DRIVER_FAILED', `HAProxy does not use the certificate ${certificate}`, {
          next: 'Name the file in the configuration of HAProxy (bind … ssl crt) as the target has it, or the name in certificateName. The socket needs "level admin".',
        });
      if (this.#options.reloading === undefined && !(await fits(roots, call, call.set)))
        return fail('DRIVER_FAILED', 'the roots change, and HAProxy takes them by a reload only', {
          next: 'Set reload of the haproxy driver, with the pid file of its master.',
        });
      return ok(undefined);
    });
  }

  protected reload(
    call: DriverCall,
    served: StoredSet | undefined,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    if (served === undefined) return Promise.resolve(unknownTrust('there is no set to go back to'));
    return this.#unlessAway(notRunning, async () => {
      const { roots } = await this.#used(call, signal);
      const { reloading } = this.#options;
      if (reloading !== undefined && !(await fits(roots, call, served))) {
        const result = await reloading.apply(call, signal);
        return result.ok ? this.#shownSoon(call, served, signal) : result;
      }
      const refused = await this.#replace(call, served, signal);
      return refused ?? this.#shown(call, served, signal);
    });
  }

  override verify(call: DriverCall, signal: AbortSignal): Promise<Result<Applied>> {
    return this.#unlessAway(notRunning, () => this.#shown(call, call.set, signal));
  }

  /** Commits the certificate. Undefined: done. */
  async #replace(
    call: DriverCall,
    served: StoredSet,
    signal: AbortSignal,
  ): Promise<Result<Applied> | undefined> {
    const name = this.#names(call).certificate;
    const pem = await pemOf(call, served);
    checkSocket(this.#options.socket);
    const set = await this.#tell(signal, `set ssl cert ${name}`, pem);
    if (!/transaction (created|updated)/i.test(set))
      return fail('DRIVER_FAILED', `HAProxy did not take ${name}: ${withoutKey(set, pem)}`, {
        next: 'If another transaction is open, end it with "abort ssl cert". If the text was cut, raise tune.bufsize above its size.',
      });
    const commit = await this.#tell(signal, `commit ssl cert ${name}`);
    if (commit.endsWith('Success!')) return undefined;
    await this.#tell(signal, `abort ssl cert ${name}`);
    return fail('DRIVER_REFUSED', `HAProxy refused ${name}: ${said(commit)}`);
  }

  /** After a reload the worker before may still answer for a moment. */
  async #shownSoon(
    call: DriverCall,
    served: StoredSet,
    signal: AbortSignal,
  ): Promise<Result<Applied>> {
    for (;;) {
      try {
        const shown = await this.#shown(call, served, signal);
        if (shown.ok) return shown;
      } catch (thrown) {
        // the socket changes hands
        const { code = '' } = thrown as NodeJS.ErrnoException;
        if (!isAway(thrown) && !['ECONNRESET', 'EPIPE'].includes(code)) throw thrown;
      }
      await this.#options.clock.sleep(lookMs, { signal });
    }
  }

  /** What HAProxy uses, compared with a set. */
  async #shown(call: DriverCall, served: StoredSet, signal: AbortSignal): Promise<Result<Applied>> {
    const { certificate, roots: rootsName } = this.#names(call);
    const { leaf, roots } = await this.#used(call, signal);
    if (leaf !== plainSerial(served.serial))
      return fail(
        'DRIVER_FAILED',
        `HAProxy uses ${leaf ?? 'nothing'} for ${certificate}, not ${served.serial}`,
      );
    if (roots === undefined) return unknownTrust('HAProxy uses the certificate');
    return (await fits(roots, call, served))
      ? ok({ trust: 'loaded', note: 'HAProxy uses the certificate and the roots' })
      : fail('DRIVER_FAILED', `HAProxy uses other roots for ${rootsName} than the set has`);
  }

  async #used(call: DriverCall, signal: AbortSignal): Promise<Used> {
    const names = this.#names(call);
    const certificate = await this.#tell(signal, `show ssl cert ${names.certificate}`);
    const roots = await this.#tell(signal, `show ssl ca-file ${names.roots}`);
    const isUsed = call.files['ca'] !== undefined && /^Status: Used$/m.test(roots);
    return { leaf: serialsIn(certificate)[0], roots: isUsed ? serialsIn(roots) : undefined };
  }

  #names({ directory, files }: DriverCall): {
    readonly certificate: string;
    readonly roots: string;
  } {
    const { certificateName, rootsName } = this.#options;
    const file = files['combined'] ?? files['fullchain'] ?? '';
    return {
      certificate: word(certificateName ?? join(directory, 'current', file)),
      roots: word(rootsName ?? join(directory, 'current', files['ca'] ?? '')),
    };
  }

  #tell(signal: AbortSignal, command: string, payload?: string): Promise<string> {
    return tell(this.#options.socket, command, payload, signal);
  }

  async #unlessAway<T>(away: T, work: () => Promise<Result<T>>): Promise<Result<T>> {
    try {
      return await work();
    } catch (thrown) {
      if (isAway(thrown)) return ok(away);
      throw thrown;
    }
  }
}

const notRunning: Applied = { trust: 'unknown', note: 'HAProxy does not run' };

/** Whether the roots that HAProxy uses are those of a set, or it uses none of the target. */
async function fits(
  roots: readonly string[] | undefined,
  { files }: DriverCall,
  set: StoredSet,
): Promise<boolean> {
  const { ca } = files;
  if (roots === undefined || ca === undefined) return true;
  return sameSerials(roots, await serialsOf(join(set.directory, ca)));
}

async function pemOf({ files }: DriverCall, { directory }: StoredSet): Promise<string> {
  const { combined, fullchain, key } = files;
  const names = combined === undefined ? [key, fullchain] : [combined];
  const pems = names.map((name) => {
    if (name !== undefined) return readFile(join(directory, name), 'utf8');
    throw new PkiError('DRIVER_FAILED', 'the layout of the target has no combined file', {
      next: 'Name the file combined in the layout of the target.',
    });
  });
  return asPayload(...(await Promise.all(pems)));
}

/** A name as one word of a command. */
function word(name: string): string {
  if (storeName.test(name)) return name;
  throw new PkiError('DRIVER_FAILED', `${name} can not stand in a command of HAProxy`, {
    next: 'Use letters, digits and "_./@:+=-" in the path of the target, or in the name.',
  });
}

/** An answer that repeats what it was given would bring the private key into logs. */
const withoutKey = (answer: string, pem: string): string =>
  pem.split('\n').some((line) => line.length > 8 && answer.includes(line.slice(0, 16)))
    ? 'its answer repeats the text, and is left out'
    : said(answer);

/** The serials in an answer to `show ssl`. */
const serialsIn = (answer: string): readonly string[] =>
  [...answer.matchAll(/^Serial: ([0-9A-Fa-f]+)$/gm)].map((match) =>
    plainSerial(match[1] as string),
  );
