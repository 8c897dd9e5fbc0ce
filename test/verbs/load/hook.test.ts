import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { sandbox } from "../../tools/harness.ts";
import { expectHarmless, send, stopOf } from "../../tools/hooks.ts";
import { idOf, sessionOf, writeOldRecords } from "../../tools/old-records.ts";

test("10,000 records of the old script: no hook is cut off, and the task is found in the end", async () => {
	const box = sandbox();
	writeOldRecords(box.dir, 10_000, (n) => n === 7);
	const stop = stopOf(sessionOf(7), { last_assistant_message: "words" });
	const times: number[] = [];
	while (!existsSync(join(box.dir, ".sessions", ".whole"))) {
		expect(times.length).toBeLessThan(500);
		const start = performance.now();
		expectHarmless(await send(box, stop));
		times.push(performance.now() - start);
	}
	// Droid cuts a hook off after 5 s; a call spends 300 ms of them on the index.
	const [median] = times.toSorted((a, b) => a - b).slice(times.length / 2);
	expect(median).toBeLessThan(5000);
	expect(times.length).toBeGreaterThan(1);
	expect(box.record(idOf(7))).toMatchObject({
		status: "completed",
		result: "words",
	});
});
