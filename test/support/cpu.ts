/**
 * Milliseconds of processor time of this process: what others on the machine take from it does not
 * count, nor does standing still.
 */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
