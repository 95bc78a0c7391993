import { z } from 'zod';
import { driverType } from '../driver-type.ts';
import { stapleKey } from '../staple.ts';
import { executableKey, pidFileKey } from '../signal/driver.ts';
import { storeName } from './cli.ts';
import { HaproxyReloadDriver } from './reload-driver.ts';
import { HaproxyRuntimeDriver } from './runtime-driver.ts';

const nameKey = (description: string) =>
  z.string().regex(storeName).optional().describe(description);

const settings = z
  .strictObject({
    socket: z
      .string()
      .startsWith('/', 'write the absolute path of a Unix socket: any user could listen at a port')
      .optional()
      .describe('The stats socket with level admin, to which the private key goes'),
    certificateName: nameKey(
      'The certificate as the configuration names it. Absent: the file combined of current',
    ),
    rootsName: nameKey('The ca-file as the configuration names it. Absent: the file ca of current'),
    reload: z
      .strictObject({
        program: z.string().startsWith('/').default('/usr/sbin/haproxy'),
        executable: executableKey.optional(),
        pidFile: pidFileKey.default('/run/haproxy.pid'),
        configFile: z.string().startsWith('/').default('/etc/haproxy/haproxy.cfg'),
      })
      .optional()
      .describe(
        'SIGUSR2 to the master, which starts a new worker from the files. With a socket: only when the roots change',
      ),
    staple: stapleKey,
  })
  .refine(
    ({ socket, reload }) => socket !== undefined || reload !== undefined,
    'name the socket, reload, or both',
  );

export const haproxy = driverType({
  type: 'haproxy',
  proofSeconds: 4,
  // HAProxy keeps an answer with the certificate: each new one begins without
  staple: 'after',
  settings,
  open: ({ socket, certificateName, rootsName, reload }, { clock }) => {
    const reloading = reload && new HaproxyReloadDriver(reload, clock);
    if (socket !== undefined)
      return new HaproxyRuntimeDriver({ socket, certificateName, rootsName, reloading, clock });
    // the schema demands one of both
    return reloading as HaproxyReloadDriver;
  },
});
