// Where the SoftHSM PKCS#11 module lies: Debian and Ubuntu (multiarch and the package's own
// folder), Fedora, Alpine.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const file = 'libsofthsm2.so';

/**
 * @param {{ SOFTHSM2_MODULE?: string | undefined }} [environment] an explicit path, which wins even
 * when nothing is there: a wrong setting must show, not be passed over
 * @returns {string | undefined} absolute path of the module, undefined when it is not installed
 */
export function softHsmModulePath(environment = {}) {
  if (environment.SOFTHSM2_MODULE) return environment.SOFTHSM2_MODULE;
  const multiarch = existsSync('/usr/lib')
    ? readdirSync('/usr/lib')
        .filter((name) => /-linux-(gnu|musl)/.test(name))
        .map((name) => join('/usr/lib', name, 'softhsm'))
    : [];
  const folders = [
    ...multiarch,
    '/usr/lib/softhsm',
    '/usr/lib64/softhsm',
    '/usr/lib64/pkcs11',
    '/usr/local/lib/softhsm',
  ];
  return folders.map((folder) => join(folder, file)).find((path) => existsSync(path));
}
