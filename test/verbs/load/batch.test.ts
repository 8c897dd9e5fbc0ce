import { expect, test } from "bun:test";
import { filesOf, toLines } from "../../tools/batch.ts";
import { program, sandbox, until } from "../../tools/harness.ts";

test.each([1, 25, 150, 299])(
	"whose launcher is killed with -9 at record %d is there as a whole or not at all",
	async (moment) => {
		const box = sandbox();
		const total = 300;
		const lines = Array.from({ length: total }, (_, index) => ({
			description: `${index}`,
			command: ["true"],
			...(index === 0 && { on_end: "true" }),
		}));
		const launcher = Bun.spawn([...program, "launch", "--batch", "-"], {
			cwd: box.home,
			env: { ...box.env, BG_SESSION_ID: "outer" },
			stdin: Buffer.from(toLines(lines)),
			stdout: "ignore",
		});
		const ids = () =>
			filesOf(box).flatMap((name) => /^(bg_.*)\.json$/.exec(name)?.[1] ?? []);
		await until(
			() => launcher.exitCode !== null || ids().length >= moment,
			`${moment} records`,
		);
		launcher.kill("SIGKILL");
		await launcher.exited;
		await until(() => box.alive().length === 0, "its supervisor gone");
		if (ids().length === 0) expect(filesOf(box)).toEqual([]);
		else {
			const ends = ids().map((id) => box.record(id).status);
			expect(ends).toEqual(Array(total).fill("completed"));
		}
		const waiting = filesOf(box).filter((name) =>
			/^\.(queue|slots|on-end)\//.test(name),
		);
		expect(waiting).toEqual([]);
	},
);
