/**
 * The logger that the code needs; pino satisfies it. Never pass a private key, PIN, token or CSR to
 * it. Log each error once, at the edge that handles it.
 */
export interface Logger {
  /**
   * `fields` may be a function that makes them. It is called only for a line that is written, so that
   * calls by the thousand do not pay for lines that nobody wants.
   */
  debug(fields: object | (() => object), message?: string): void;
  info(fields: object, message?: string): void;
  warn(fields: object, message?: string): void;
  error(fields: object, message?: string): void;
  fatal(fields: object, message?: string): void;
  child(fields: object): Logger;
}

export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  fatal: () => {},
  child: () => silentLogger,
};

const levels = ['debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof levels)[number];

/** The level of the two that lets more lines through. */
export const mostVerbose = (a: LogLevel, b: LogLevel): LogLevel =>
  levels.indexOf(a) < levels.indexOf(b) ? a : b;

/** A logger whose lowest level can be changed, for itself and all its children. */
export interface LevelledLogger extends Logger {
  level(): LogLevel;
  setLevel(level: LogLevel): void;
}

/** `inner` must let every level through. */
export function levelled(inner: Logger, level: LogLevel): LevelledLogger {
  let present = level;
  let lowest = levels.indexOf(level);
  const through = (logger: Logger): Logger => ({
    debug: (fields, message) =>
      lowest <= 0 && logger.debug(typeof fields === 'function' ? fields() : fields, message),
    info: (fields, message) => lowest <= 1 && logger.info(fields, message),
    warn: (fields, message) => lowest <= 2 && logger.warn(fields, message),
    error: (fields, message) => lowest <= 3 && logger.error(fields, message),
    fatal: (fields, message) => logger.fatal(fields, message),
    child: (fields) => through(logger.child(fields)),
  });
  return {
    ...through(inner),
    level: () => present,
    setLevel: (next) => {
      present = next;
      lowest = levels.indexOf(next);
    },
  };
}
