import { expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { archiveTasks } from "../../lib/prune/archive.ts";
import { archivedRecord, outputFile } from "../../lib/store/paths.ts";
import type { Task } from "../../lib/task/schema.ts";
import { type Sandbox, sandbox, until } from "../tools/harness.ts";
import { addTask, send, stopOf } from "../tools/hooks.ts";

/** Finished tasks, all of them in the archive. */
function addArchived(box: Sandbox, count = 1, fields: Partial<Task> = {}) {
	const ids = Array.from({ length: count }, () => addFinished(box, fields));
	archiveTasks({ dir: box.dir }, { keep: 0 });
	return ids;
}

function addFinished(box: Sandbox, fields: Partial<Task> = {}): string {
	const id = addTask(box, {
		status: "completed",
		reason: "exit",
		exit_code: 0,
		completed_at: new Date().toISOString(),
		result: "fine",
		command: ["true"],
		cwd: "/",
		...fields,
	});
	writeFileSync(outputFile({ dir: box.dir }, id), `said by ${id}\n`);
	return id;
}

const listIds = async (box: Sandbox, ...flags: string[]): Promise<string[]> => {
	const { tasks } = (await box.bg(["list", ...flags])).json();
	return tasks.map(({ id }: Task) => id);
};

const isArchived = (box: Sandbox, id: string) =>
	existsSync(archivedRecord({ dir: box.dir }, id));

test("every verb that takes an id finds an archived task, by its id and by a beginning of it", async () => {
	const box = sandbox();
	const [id = ""] = addArchived(box);
	addFinished(box);
	for (const given of [id, id.slice(0, -2)]) {
		const status = (await box.bg(["status", given, "--full"])).json();
		expect(status).toMatchObject({ id, status: "completed", result: "fine" });
		const output = (await box.bg(["output", given, "--json"])).json();
		expect(output).toMatchObject({
			tasks: [{ taskId: id, output: `said by ${id}\n` }],
		});
		const raw = await box.bg(["output", given, "--raw"]);
		expect(raw.stdout).toBe(`said by ${id}\n`);
		expect((await box.bg(["wait", given])).json().tasks).toMatchObject([
			{ taskId: id, status: "completed" },
		]);
		expect((await box.bg(["cancel", given])).json().tasks).toMatchObject([
			{ taskId: id, note: "already completed" },
		]);
		expect((await box.bg(["complete", given, "x"])).json()).toMatchObject({
			taskId: id,
			completed: false,
		});
		const retried = await box.bg(["retry", given, "-q"]);
		expect(box.record(retried.stdout.trim())).toMatchObject({ retry_of: id });
		const next = await box.bg([
			"run",
			"-q",
			"--after",
			given,
			"d",
			"--",
			"true",
		]);
		expect(next).toMatchObject({ code: 0, stderr: "" });
		expect(box.record(next.stdout.trim()).after).toEqual([id]);
		await box.bg(["wait"]);
		expect(box.record(next.stdout.trim()).status).toBe("completed");
	}
	const text = await box.bg(["status", id, "--text"]);
	expect(text.stdout).toContain(`/.archive/`);
	expect(text.stdout).toContain(`${id}.out`);
	expect(isArchived(box, id)).toBe(true);
});

test("list and report leave archived tasks out unless --all is given", async () => {
	const box = sandbox();
	const archived = addArchived(box, 2);
	const kept = addFinished(box);
	expect(await listIds(box)).toEqual([kept]);
	const all = [...archived, kept].reverse();
	expect(await listIds(box, "--all")).toEqual(all);
	expect(await listIds(box, "--all", "--limit", "0")).toEqual(all);
	const report = (await box.bg(["report", "--all"])).stdout;
	const usual = (await box.bg(["report"])).stdout;
	for (const id of archived) {
		expect(report).toContain(id);
		expect(usual).not.toContain(id);
	}
	expect(usual).toContain(kept);
});

test("list shows all that run, then queued and finished ones, 50 in all, and counts all", async () => {
	const box = sandbox();
	const running = Array.from({ length: 3 }, () =>
		addTask(box, { kind: "native" }),
	);
	const queued = Array.from({ length: 2 }, () =>
		addTask(box, { kind: "native", status: "queued" }),
	);
	const finished = Array.from({ length: 60 }, () => addFinished(box));
	const answer = (await box.bg(["list"])).json();
	expect(answer).toMatchObject({
		total: 65,
		running: 3,
		queued: 2,
		completed: 60,
		truncated: true,
		omitted: 15,
	});
	expect(answer.more).toEndWith(" list --limit 0");
	const shown = answer.tasks.map(({ id }: Task) => id);
	expect(shown).toEqual(
		[...running, ...queued, ...finished.slice(15)].reverse(),
	);
	expect(await listIds(box, "--limit", "0")).toHaveLength(65);
	expect(await listIds(box, "--limit", "4")).toEqual(
		[...running, ...queued.slice(1)].reverse(),
	);
	const few = (await box.bg(["list", "--status", "running"])).json();
	expect(few.truncated).toBeUndefined();
	const flags = ["list", "--status", "completed", "--tag", "a b", "--all"];
	for (let each = 0; each < 51; each++) addFinished(box, { tags: ["a b"] });
	const { more, omitted } = (await box.bg(flags)).json();
	expect(omitted).toBe(1);
	expect(more).toEndWith("list --tag 'a b' --status completed --all --limit 0");
	const text = await box.bg(["list", "--text"]);
	expect(text.stdout.trim().split("\n")).toHaveLength(50);
	expect(text.stderr).toMatch(/^bg: 66 more of 116 tasks: .* --limit 0\n$/);
});

test("all that run are shown, however many", async () => {
	const box = sandbox();
	for (let each = 0; each < 55; each++) addTask(box, { kind: "native" });
	addFinished(box);
	const answer = (await box.bg(["list"])).json();
	expect(answer.tasks).toHaveLength(55);
	expect(answer).toMatchObject({ truncated: true, omitted: 1 });
});

test("the unique end of an id names a task in the folder", async () => {
	const box = sandbox();
	const put = (id: string, status: string, keep = 9) => {
		const text = JSON.stringify({ id, status, kind: "native" });
		writeFileSync(join(box.dir, `${id}.json`), text);
		archiveTasks({ dir: box.dir }, { keep });
	};
	const far = addFinished(box);
	rmSync(join(box.dir, `${far}.json`));
	put("bg_1a2172389dc00cafe", "completed", 0);
	put("bg_1a2172389dc01beef", "completed");
	put("bg_1a2172389dc02beef", "running");
	put("bg_1a2172389dc03f00d", "completed");
	const status = async (given: string) => box.bg(["status", given]);
	expect((await status("f00d")).json().id).toBe("bg_1a2172389dc03f00d");
	expect((await status("2beef")).json().id).toBe("bg_1a2172389dc02beef");
	const ambiguous = await status("beef");
	expect(ambiguous.code).toBe(3);
	expect(ambiguous.json().error).toContain(
		"could be 2 tasks (bg_1a2172389dc01beef, bg_1a2172389dc02beef)",
	);
	// What stops or changes a task means the unfinished one.
	const cancelled = await box.bg(["cancel", "beef"]);
	expect(cancelled.json().tasks[0].taskId).toBe("bg_1a2172389dc02beef");
	for (const args of [
		["cancel", "f00d"],
		["pause", "f00d"],
		["unpause", "f00d"],
		["complete", "f00d", "x"],
		["edit", "f00d", "--priority", "1"],
	]) {
		const { code, error } = await box.bg(args);
		expect(code).toBe(3);
		expect(error).toContain('no unfinished task "f00d"');
	}
	// An archived task is found by a beginning only.
	expect((await status("cafe")).code).toBe(3);
	expect((await status("bg_1a2172389dc00c")).code).toBe(0);
	expect((await status("eef")).code).toBe(2);
});

test("a supervisor archives old tasks when its own have ended, and prune does", async () => {
	const box = sandbox();
	const env = { BG_KEEP: "2" };
	const first = addFinished(box);
	const ids = [first, addFinished(box), addFinished(box)];
	const id = await box.run(["true"], { env });
	await until(() => isArchived(box, first), "an archived task");
	await until(() => box.alive().length === 0, "the supervisor gone");
	expect(isArchived(box, ids[1] ?? "")).toBe(true);
	expect(await listIds(box)).toEqual([id, ids[2] ?? ""]);
	const more = addFinished(box);
	expect((await box.bg(["prune", "--dry-run"], { env })).code).toBe(0);
	expect(await listIds(box)).toHaveLength(3);
	expect((await box.bg(["prune"], { env })).code).toBe(0);
	expect(await listIds(box)).toEqual([more, id]);
	// The supervisor of the first is gone, and none is left over.
	expect((await box.bg(["prune"], { env: { BG_KEEP: "1" } })).code).toBe(0);
	expect(await listIds(box)).toEqual([more]);
});

test("BG_KEEP is a number; 0 archives nothing", async () => {
	const box = sandbox();
	const wrong = { env: { BG_KEEP: "many" } };
	for (const args of [["run", "d", "--", "true"], ["prune"]]) {
		const { code, error } = await box.bg(args, wrong);
		expect(code).toBe(2);
		expect(error).toContain("BG_KEEP");
	}
	for (let each = 0; each < 3; each++) addFinished(box);
	await box.bg(["prune"], { env: { BG_KEEP: "0" } });
	expect(await listIds(box)).toHaveLength(3);
});

test("cancel reaches what was launched from inside a task that is archived by now", async () => {
	const box = sandbox();
	const top = await box.run(["sleep", "600"]);
	const [between] = addArchived(box, 1, { parent_task_id: top });
	const low = await box.run(["sleep", "600"], {
		env: { BG_TASK_ID: between },
	});
	expect(box.record(low).parent_task_id).toBe(between);
	const { tasks } = (await box.bg(["cancel", top])).json();
	expect(tasks).toMatchObject([{ taskId: top }, { taskId: low }]);
	expect(box.record(low).status).toBe("cancelled");
});

test("the session id of a task is derived from its id: a hook finds the task, and no index is needed", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "600"]);
	const { session_id = "" } = box.record(id);
	expect(session_id).toBe(`ses_${id.slice(-12)}`);
	expect(readdirSync(join(box.dir, ".sessions"))).toEqual([".whole"]);
	const stop = stopOf(session_id, { last_assistant_message: "done" });
	expect((await send(box, stop)).json()).toMatchObject({
		taskId: id,
		completed: true,
	});
	await box.bg(["cancel", id]);
});
