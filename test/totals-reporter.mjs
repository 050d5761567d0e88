/**
 * A second reporter beside `spec`: writes what `run.mjs` adds up over several runs, as one line of
 * JSON. It runs in Node's own test runner, hence a generator over its events.
 */
export default async function* totals(events) {
  const skipped = [];
  let counts = null;
  for await (const { type, data } of events) {
    if (
      (type === 'test:pass' || type === 'test:fail') &&
      data.skip !== undefined &&
      data.skip !== false
    ) {
      const reason = typeof data.skip === 'string' ? data.skip : '';
      skipped.push({ name: data.name, file: data.file ?? '', line: data.line ?? 0, reason });
    }
    // Each file has a summary; the one of the whole run names no file.
    if (type === 'test:summary' && data.file === undefined) counts = data.counts;
  }
  yield `${JSON.stringify({ counts, skipped })}\n`;
}
