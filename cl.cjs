const fs=require("node:fs");
try{fs.closeSync(7);console.log("closed")}catch(e){console.log(e.code,e.message)}
try{fs.writeSync(7,"x");console.log("written")}catch(e){console.log(e.code,e.message)}
try{ const f=new fs.WriteStream(null,{fd:7,autoClose:true}); f.destroy(); setTimeout(()=>{console.log(fs.readdirSync("/proc/self/fd").join())},50) }catch(e){console.log(e.code,e.message)}
try { const lib = Deno.dlopen("libc.so.6",{close:{parameters:["i32"],result:"i32"}}); console.log("ffi", lib.symbols.close(7)); console.log(fs.readdirSync("/proc/self/fd").join()) } catch(e){console.log(e.message)}
