/**
 * What this process found missing or damaged in the data directory, until the server was told. Owner
 * of that list.
 */
export class LostState {
  #lost: readonly string[] = [];

  add(file: string, how: 'missing' | 'damaged' | 'older than the SVID'): void {
    this.#lost = [...this.#lost, `${file}: ${how}`];
  }

  list(): readonly string[] {
    return this.#lost;
  }

  told(): void {
    this.#lost = [];
  }
}
