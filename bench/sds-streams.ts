import { connectSds, SdsStream } from '../test/support/sds-client.ts';

/** On the clock of the process that holds the streams. */
export interface UpdateTimes {
  readonly firstMs: number;
  readonly lastMs: number;
}

type Asked =
  /** Answered when each stream has its secret. */
  | { readonly type: 'hold'; readonly path: string; readonly streams: number }
  /** Answered when each stream has acknowledged a secret that comes after this. */
  | { readonly type: 'update' };

/** Run as a child, which holds streams of secret discovery for roots, two on each connection. */
if (process.argv[2] === '--sds-child') {
  const taken = new Set<SdsStream>();
  let streams = 0;
  let firstMs = 0;
  let done: (times: UpdateTimes) => void = () => {};

  const open = (path: string): void => {
    const session = connectSds(path);
    for (const name of ['ROOTCA', 'ALL']) {
      const stream: SdsStream = new SdsStream(session, {
        node: 'bench',
        name,
        onSecret: () => {
          const nowMs = performance.now();
          if (taken.size === 0) firstMs = nowMs;
          taken.add(stream);
          if (taken.size === streams) done({ firstMs, lastMs: nowMs });
          return 'acknowledge';
        },
        onEnd: (reason) => {
          process.stderr.write(`sds: a stream has ended: ${reason}\n`);
          process.exit(1);
        },
      });
    }
  };
  const taking = (): Promise<UpdateTimes> => {
    taken.clear();
    return new Promise((resolve) => (done = resolve));
  };
  process.on('message', (asked: Asked) => {
    if (asked.type === 'hold') {
      ({ streams } = asked);
      void taking().then(() => process.send?.(true));
      for (let opened = 0; opened < streams; opened += 2) open(asked.path);
    } else void taking().then((times) => process.send?.(times));
  });
  process.on('disconnect', () => process.exit(0));
}
