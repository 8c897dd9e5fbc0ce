/** The name of a machine that has no machine id: it survives a changed host name. */
import { expect, onTestFinished, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program, type Sandbox, sandbox } from "../tools/harness.ts";

/** A machine without a machine id, and with a /var/tmp of its own. */
async function nameless(box: Sandbox) {
	const empty = join(box.home, "machine-id");
	writeFileSync(empty, "uninitialized\n");
	const script = `mount --bind ${empty} /etc/machine-id && mount -t tmpfs -o mode=1777 none /var/tmp && echo ready && exec sleep 600`;
	const holder = Bun.spawn(
		["unshare", "--map-root-user", "--mount", "--uts", "sh", "-c", script],
		{ stdin: "ignore", stdout: "pipe", stderr: "inherit" },
	);
	onTestFinished(async () => {
		holder.kill("SIGKILL");
		await holder.exited;
	});
	const { value } = await holder.stdout.getReader().read();
	if (!value) throw new Error("no mount and uts namespace to be had");
	const enter = [
		"nsenter",
		`--target=${holder.pid}`,
		...["--user", "--mount", "--uts", "--preserve-credentials"],
	];
	const shell = (command: string) => {
		const { exitCode, stdout, stderr } = Bun.spawnSync([
			...enter,
			...["sh", "-c", command],
		]);
		if (exitCode !== 0) throw new Error(`${command}: ${stderr}`);
		return stdout.toString();
	};
	return { argv: [...enter, ...program], shell };
}

test("a changed host name does not change the identity of the machine", async () => {
	const box = sandbox();
	const { argv, shell } = await nameless(box);
	shell("hostname before");
	const env = { BG_MAX_RUNNING: "1" };
	const id = await box.run(["sleep", "600"], { argv, env });
	const { supervisor } = await box.untilTask(
		id,
		(now) => now.process,
		"a start",
	);
	expect(supervisor?.machine).toMatch(/^[0-9a-f]{32}:\d+$/);
	shell("hostname after");
	const { tasks } = (await box.bg(["list"], { argv })).json();
	expect(tasks).toMatchObject([{ id, status: "running" }]);
	expect(tasks[0].note).toBeUndefined();
	const second = await box.run(["true"], { argv, env });
	expect(readdirSync(join(box.dir, ".slots"))).toHaveLength(1);
	const cancelled = await box.bg(["cancel", id], { argv });
	expect(cancelled).toMatchObject({ code: 0 });
	expect(await box.bg(["wait", second], { argv })).toMatchObject({ code: 0 });
});

test("a machine name that another user wrote is not used", async () => {
	const box = sandbox();
	const { argv, shell } = await nameless(box);
	const name = "0123456789abcdef0123456789abcdef";
	shell(`hostname here; echo ${name} >/var/tmp/theirs`);
	// A link, and a file that others can write, are not this user's.
	for (const make of [
		`ln -sf theirs /var/tmp/bg-machine-id-0`,
		`rm /var/tmp/bg-machine-id-0; cp /var/tmp/theirs /var/tmp/bg-machine-id-0; chmod 666 /var/tmp/bg-machine-id-0`,
	]) {
		shell(make);
		const id = await box.run(["true"], { argv });
		const { supervisor } = await box.untilTask(
			id,
			(now) => now.process,
			"a start",
		);
		expect(supervisor?.machine).toMatch(/^here:/);
		await box.bg(["wait", id], { argv });
	}
});
