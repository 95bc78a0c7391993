import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Logger } from '../../common/runtime/index.ts';
import { NameOwners, type Tenant } from '../../domain/index.ts';

/** What of the ledger the owners of names are read from. */
export interface ProvenTenants {
  /** Those that the log vouches for. @throws PkiError OBJECT_NOT_IN_LOG if one was altered */
  owners(): Promise<NameOwners<Tenant>>;
  /** Grows with each record of a tenant. */
  newest(): number;
}

export interface TenantOwnersDependencies {
  readonly tenants: ProvenTenants;
  readonly onRevision: (listener: () => void) => () => void;
  readonly logger: Logger;
}

/**
 * The tenants in force and the names that they own, as the log vouches for them. Owner of that
 * memory, which is read again after each record of a tenant. While a tenant was altered past the
 * log, nobody knows whose a name is, and no name is given to anybody.
 */
export class TenantOwners {
  readonly #dependencies: TenantOwnersDependencies;
  readonly #stop: () => void;
  #owners: NameOwners<Tenant> | undefined;
  /** The newest record that is in the memory. */
  #read: number | undefined;
  #failure: PkiError | undefined;
  #reading: Promise<void> | undefined;

  constructor(dependencies: TenantOwnersDependencies) {
    this.#dependencies = dependencies;
    this.#stop = dependencies.onRevision(() => {
      if (this.#owners !== undefined && this.#read !== dependencies.tenants.newest())
        this.#refreshSoon();
    });
  }

  /**
   * The owners in force. Called for each certificate: it does no I/O.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG while a tenant differs from the log; STARTING_UP before the
   *   first read
   */
  present(): NameOwners<Tenant> {
    if (this.#failure !== undefined) {
      this.#refreshSoon();
      throw this.#failure;
    }
    if (this.#owners === undefined)
      throw new PkiError('STARTING_UP', 'the tenants have not been read yet');
    // a record that moved no revision
    if (this.#read !== this.#dependencies.tenants.newest()) this.#refreshSoon();
    return this.#owners;
  }

  /** `present` for the rights of operators: while the owners are not known, no tenant owns a name. */
  known(): NameOwners<Tenant> {
    return this.#failure === undefined && this.#owners !== undefined
      ? this.#owners
      : NameOwners.none;
  }

  /** Reads again if there is a newer record. Reads that are asked for meanwhile follow as one. */
  async refresh(): Promise<void> {
    while (this.#reading !== undefined) await this.#reading.catch(() => undefined);
    this.#reading = this.#readAgain();
    try {
      await this.#reading;
    } finally {
      this.#reading = undefined;
    }
  }

  /** `known`, of a moment during this call or later. Does I/O where there is a newer record. */
  async current(): Promise<NameOwners<Tenant>> {
    await this.refresh().catch(() => undefined);
    return this.known();
  }

  close(): void {
    this.#stop();
  }

  #refreshSoon(): void {
    if (this.#reading !== undefined) return;
    this.refresh().catch((thrown: unknown) =>
      this.#dependencies.logger.error(
        { ...errorFields(thrown), alert: true },
        'the tenants could not be read',
      ),
    );
  }

  async #readAgain(): Promise<void> {
    const { tenants } = this.#dependencies;
    const newest = tenants.newest();
    if (this.#owners !== undefined && this.#failure === undefined && this.#read === newest) return;
    try {
      this.#owners = await tenants.owners();
      this.#read = newest;
      this.#failure = undefined;
    } catch (thrown) {
      const error = PkiError.from(thrown);
      // another failure leaves what was known, and the next record tries again
      if (error.code === 'OBJECT_NOT_IN_LOG') this.#failure = error;
      throw error;
    }
  }
}
