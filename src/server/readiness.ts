/** A reason why this process should get no traffic, or undefined. */
export type ReadinessCheck = () => string | undefined;

/**
 * Whether the server could serve a request now. It owns no state: each check asks the owner of its
 * state.
 */
export class Readiness {
  readonly #checks: ReadinessCheck[] = [];

  add(check: ReadinessCheck): void {
    this.#checks.push(check);
  }

  reasons(): readonly string[] {
    return this.#checks.map((check) => check()).filter((reason) => reason !== undefined);
  }

  get ready(): boolean {
    return this.reasons().length === 0;
  }
}
