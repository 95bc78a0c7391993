/** Absolute path of the SoftHSM module; `SOFTHSM2_MODULE` wins when set; undefined when SoftHSM is not installed. */
export function softHsmModulePath(environment?: {
  readonly SOFTHSM2_MODULE?: string | undefined;
}): string | undefined;
