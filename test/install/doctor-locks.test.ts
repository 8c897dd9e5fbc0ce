import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
	claimName,
	identifyProcess,
	identifySelf,
} from "../../lib/process/identity.ts";
import { identifyMachine } from "../../lib/process/machine.ts";
import { openStore } from "../../lib/store/directory.ts";
import { lockFolder, queueLock } from "../../lib/store/paths.ts";
import { sandbox } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";

test("doctor names the locks that stay held, their holders, and the commands that free them", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const id = addTask(box);
	const hold = (lock: string, holder: string) => {
		mkdirSync(lockFolder(store, lock));
		writeFileSync(join(lockFolder(store, lock), holder), "");
	};
	const locks = async () =>
		(await box.bg(["doctor"]))
			.json()
			.checks.find(({ check }: { check: string }) => check === "locks");
	const well = { check: "locks", ok: true, says: "none held for long" };
	hold("bg_0123456789ab", claimName({ ...identifySelf(), start: "1" }, "0"));
	expect(await locks()).toEqual(well);

	const living = Bun.spawn(["sleep", "600"]);
	const holder = identifyProcess(living.pid);
	if (!holder) throw new Error("no sleep");
	hold(id, claimName(holder, "0"));
	hold("unique", claimName({ ...holder, machine: "a container" }, "0"));
	hold(queueLock(identifyMachine().machine), "scribble");
	const stuck = await locks();
	expect(stuck).toMatchObject({ check: "locks", ok: false });
	for (const words of [
		`${id} by process ${living.pid}`,
		`unique (every launch with --unique needs it) by process ${living.pid} on a container`,
		"queue (every start on its machine needs it) by the unknown file scribble",
	])
		expect(stuck.says).toContain(words);
	expect(Bun.spawnSync(["sh", "-c", stuck.fix]).exitCode).toBe(0);
	await living.exited;
	expect(await locks()).toEqual(well);
	const unique = ["run", "-q", "--unique", "key", "d", "--", "true"];
	const { stdout } = await box.bg(unique);
	expect((await box.bg(["wait", stdout.trim()])).code).toBe(0);
});
