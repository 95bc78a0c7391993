// The types of drivers that this agent knows, one line each.
export { exec } from './exec/driver.ts';
