import type { Command } from 'commander';
export function addUpCommand(_program: Command): void {}
