// The entry point: selects a path by argv, loads it, and exits with its code. The hook path is imported statically.
import { runHook } from "./lib/hook/hook.ts";
import { exit, programArguments } from "./lib/process/runtime.ts";

async function run(argv: string[]): Promise<number> {
	if (argv[0] === "supervise") {
		const { supervise } = await import("./lib/supervise/supervise.ts");
		await supervise(argv.slice(1));
		return 0;
	}
	const isHook = argv[0] === "hook" || argv[0] === "hook-complete";
	if (isHook && !/^(-h|--help)$/.test(argv[1] ?? "")) {
		await runHook(argv[0] ?? "");
		return 0;
	}
	const { runCli } = await import("./lib/cli/cli.ts");
	return runCli(argv);
}

// Awaited here: under Bun, work that outlives the evaluation of this file costs a garbage collection.
try {
	exit(await run(programArguments()));
} catch (error) {
	console.error(error instanceof Error ? error.stack : error);
	exit(70);
}
