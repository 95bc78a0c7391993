// The types of drivers that this agent knows, one line each.
export { caddy } from './caddy/driver.ts';
export { command } from './command/driver.ts';
export { envoy } from './envoy/driver.ts';
export { exec } from './exec/driver.ts';
export { haproxy } from './haproxy/driver.ts';
export { http } from './http/driver.ts';
export { nginx } from './nginx/driver.ts';
export { none } from './none/driver.ts';
export { postgresql } from './postgresql/driver.ts';
export { redis } from './redis/driver.ts';
export { signal } from './signal/driver.ts';
export { systemd } from './systemd/driver.ts';
export { traefik } from './traefik/driver.ts';
