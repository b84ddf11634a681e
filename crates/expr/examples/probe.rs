use std::time::Instant;
fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let p = |s: &str| cel::parser::PrattParser::new().max_recursion_depth(32).parse(s);
    match mode.as_str() {
        "time" => {
            let s = "steps.crm.output.account.total > 100.5 && intent.items.filter(i, i.qty > 2).map(i, i.price * i.qty).size() > 3 ? 'a' : 'b'";
            let t = Instant::now(); let _ = p(s).unwrap(); println!("first {:?}", t.elapsed());
            let t = Instant::now(); for _ in 0..100 { let _ = p(s).unwrap(); } println!("100x {:?}", t.elapsed());
            let only = std::env::args().nth(2).unwrap_or_default(); for (n, s) in [("parens", format!("{}1{}", "(".repeat(2000), ")".repeat(2000))), ("nots", format!("{}true", "!".repeat(4000))), ("neg", format!("{}1", "-".repeat(4000))),("plus", format!("1{}", "+1".repeat(2000))),("dots", format!("a{}", ".b".repeat(2000))), ("idx", format!("a{}", "[0]".repeat(1300))), ("brackets", "[".repeat(4000)), ("tern", "a?b:".repeat(1000)+"1"), ("tern2", "a?".repeat(1000)), ("and", "a&&".repeat(1000)+"a")] {
                if !only.is_empty() && n != only { continue; } let s2 = s.clone();
                let r = std::thread::Builder::new().stack_size(2<<20).spawn(move || { let t = Instant::now(); let r = cel::parser::PrattParser::new().max_recursion_depth(32).parse(&s2); println!("{n}: {:?} ok={} {}", t.elapsed(), r.is_ok(), r.as_ref().err().map(|e| e.errors.first().map(|e| e.to_string().chars().take(160).collect::<String>()).unwrap_or_default()).unwrap_or_default()); std::mem::forget(r); }).unwrap().join();
                if r.is_err() { println!("{n}: PANIC"); }
            }
            if !only.is_empty() && only != "small" { return; } for s in ["a.b +", "a..b", "1 2", "'abc", "a.filter(1, x)", "0.1 + 12345678901234567.89", "9223372036854775808", "'é' + ü", "has(a)", "é", "a.b.map(x, x.y)", "'\\ud800'", "1u"] {
                match p(s) { Ok(e) => println!("{s:?} ok {:?}", e.expr), Err(e) => println!("{s:?} ERR {:?}", e.errors.iter().map(|e| (e.pos, e.msg.clone())).collect::<Vec<_>>()) }
            }
        }
        _ => {
            let mut x: u64 = 88172645463325252; let toks = ["a","b",".","(",")","[","]","{","}","'","\"","1","0.5","0x","1e","+","-","*","/","%","!","?",":","&&","||","==","<","in"," ","map","filter","has","all",",","\\","\\u","é","😀","b'","r'","'''","u","`","\n","//","\0","null","a.exists(x,x)"];
            let mut panics = 0; let mut n = 0; let t = Instant::now(); let mut slow = std::time::Duration::ZERO; let mut slows = String::new();
            std::panic::set_hook(Box::new(|i| eprintln!("{i}")));
            while t.elapsed().as_secs() < 40 { let mut s = String::new(); x ^= x<<13; x ^= x>>7; x ^= x<<17; let l = x % 24; for _ in 0..l { x ^= x<<13; x ^= x>>7; x ^= x<<17; s.push_str(toks[(x % toks.len() as u64) as usize]); }
                n += 1; let t1 = Instant::now(); let r = std::panic::catch_unwind(|| { let _ = cel::parser::PrattParser::new().max_recursion_depth(32).parse(&s); }); if t1.elapsed() > slow { slow = t1.elapsed(); slows = s.clone(); } if r.is_err() { panics += 1; if panics < 12 { println!("PANIC {s:?}"); } } }
            println!("{n} inputs {panics} panics, slowest {slow:?} {slows:?}");
        }
    }
}
