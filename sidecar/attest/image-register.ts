import type { Logger } from '../../src/common/runtime/index.ts';
import type { ImageFacts, Peer } from './peer.ts';

const maximumImages = 4096;

/** Which connections belong to one image, so that they share what is learnt about it. */
export class ImageRegister {
  readonly #logger: Logger;
  readonly #images = new Map<string, ImageFacts>();
  readonly #warned = { pidfd: false, image: false };

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** The peer, with the image of an earlier connection where that is the same. */
  adopt(peer: Peer): Peer {
    this.#warn(peer);
    // an exec would not be seen, so nothing may be shared between connections
    if (peer.image.token === undefined) return peer;
    const key = `${peer.pid}:${peer.image.startTime}:${peer.image.token}`;
    const known = this.#images.get(key);
    if (known !== undefined) {
      this.#images.delete(key);
      this.#images.set(key, known);
      return { ...peer, image: known };
    }
    this.#images.set(key, peer.image);
    if (this.#images.size > maximumImages)
      this.#images.delete(this.#images.keys().next().value as string);
    return peer;
  }

  clear(): void {
    this.#images.clear();
  }

  /** Once each. */
  #warn(peer: Peer): void {
    if (!peer.pinned && !this.#warned.pidfd) {
      this.#warned.pidfd = true;
      this.#logger.warn(
        {},
        'the kernel gives no pidfd for peers (SO_PEERPIDFD, Linux 6.5): reuse of a process ' +
          'ID is told by the start time alone, and the selector peer:pinned is absent',
      );
    }
    if (peer.image.token === undefined && !this.#warned.image) {
      this.#warned.image = true;
      this.#logger.warn(
        { uid: peer.uid },
        'the agent has no right to look into processes of other users (CAP_SYS_PTRACE, or ' +
          'root): their path and hash are unknown, and an exec after connect is seen by ' +
          'changed user IDs alone',
      );
    }
  }
}
