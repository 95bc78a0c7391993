export { acmePlugin } from './plugin.ts';
