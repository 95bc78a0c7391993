// A process that connects as somebody and hands its end of the connection to its parent, which
// speaks on it.
import { connect } from 'node:net';

export type ActorCommand =
  | {
      readonly op: 'become';
      readonly uid: number;
      readonly gid: number;
      readonly groups: readonly number[];
    }
  | { readonly op: 'become-mixed'; readonly uid: number }
  | { readonly op: 'connect'; readonly path: string }
  | { readonly op: 'exec'; readonly file: string; readonly args: readonly string[] };

process.on('message', (command: ActorCommand) => {
  switch (command.op) {
    case 'become':
      process.setgroups?.([...command.groups]);
      process.setgid?.(command.gid);
      process.setuid?.(command.uid);
      process.send?.({ done: true });
      return;
    case 'become-mixed':
      process.seteuid?.(command.uid);
      process.send?.({ done: true });
      return;
    case 'connect': {
      const socket = connect(command.path, () => process.send?.({ done: true }, socket));
      socket.pause();
      return;
    }
    case 'exec':
      process.execve?.(command.file, [...command.args], { PATH: '/usr/bin:/bin' });
  }
});
process.send?.({ done: true });
