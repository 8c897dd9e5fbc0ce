import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
	isAlive,
	linesOf,
	processesWith,
	program,
	type Sandbox,
	sandbox,
} from "../../tools/harness.ts";
import { isEmpty, run } from "../../tools/queue.ts";

/** Ids of tasks that have a living process, all at one moment. */
function livingTasks(box: Sandbox): Set<string> {
	const marked = processesWith(`BG_DIR=${box.dir}`).flatMap(({ pid }) => {
		try {
			const variables = readFileSync(`/proc/${pid}/environ`, "utf8");
			return { pid, id: /(?:^|\0)BG_TASK_ID=([^\0]*)/.exec(variables)?.[1] };
		} catch {
			return [];
		}
	});
	// Those that still live have all lived together when the last of them was read.
	const living = marked.filter(({ pid }) => isAlive(pid));
	return new Set(living.flatMap(({ id }) => id ?? []));
}

test("of 200 tasks that 20 processes launch at once, never more run than may", async () => {
	const box = sandbox();
	const log = join(box.home, "log");
	const env = { BG_MAX_RUNNING: "4" };
	const task = `echo + >>${log}; sleep 0.05; echo - >>${log}`;
	const line = JSON.stringify({
		description: "one of ten",
		command: ["sh", "-c", task],
	});
	const loop =
		'for n in 0 1 2 3 4 5 6 7 8 9; do "$@" run -q "$n" -- sh -c "$0" || exit; done';
	const launchers = Array.from({ length: 20 }, (_, n) =>
		n % 2
			? box.bg(["launch", "-q", "--batch", "-"], {
					env,
					input: `${line}\n`.repeat(10),
				})
			: box.bg(["-c", loop, task, ...program], { env, argv: ["sh"] }),
	);
	const seen: number[] = [];
	let isWatching = true;
	const watching = (async () => {
		for (; isWatching; await Bun.sleep(5)) seen.push(livingTasks(box).size);
	})();
	try {
		const answers = await Promise.all(launchers);
		expect(answers.map(({ stderr }) => stderr).join("")).toBe("");
		const ids = answers.flatMap(({ stdout }) => stdout.trim().split("\n"));
		expect(new Set(ids).size).toBe(200);
		expect((await box.bg(["wait", ...ids])).code).toBe(0);
		for (const id of ids) expect(box.record(id).status).toBe("completed");
	} finally {
		isWatching = false;
		await watching;
	}
	expect(Math.max(...seen)).toBeWithin(1, 5);
	let running = 0;
	const at = linesOf(log).map((sign) => {
		running += sign === "+" ? 1 : -1;
		return running;
	});
	expect(at).toHaveLength(400);
	expect(Math.max(...at)).toBeWithin(1, 5);
	expect(running).toBe(0);
	await isEmpty(box);
}, 300_000);

test("tasks that wait for tasks they launched do not starve them", async () => {
	const box = sandbox();
	const env = { BG_MAX_RUNNING: "2" };
	const script =
		'id=$("$0" "$@" run -q helper -- sh -c "sleep 0.05; echo helped") && "$0" "$@" wait "$id"';
	const ids = await Promise.all(
		Array.from({ length: 8 }, () =>
			run(box, ["sh", "-c", script, ...program], { env }),
		),
	);
	expect((await box.bg(["wait", ...ids])).code).toBe(0);
	const { total, completed, tasks } = (await box.bg(["list"])).json();
	expect({ total, completed }).toEqual({ total: 16, completed: 16 });
	for (const id of ids) expect(box.record(id).result).toContain("helped");
	expect(tasks).toHaveLength(16);
	await isEmpty(box);
});
