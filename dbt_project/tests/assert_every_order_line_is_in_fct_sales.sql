with

    lines as (

        select {{ utc_day("ordered_at") }} as day, count(*) as row_count, sum(sales_amount) as sales_amount
        from {{ ref("int_shop_order_items") }}
        group by 1

    ),

    facts as (

        select {{ utc_day("ordered_at") }} as day, count(*) as row_count, sum(sales_amount) as sales_amount
        from {{ ref("fct_sales") }}
        group by 1

    )

select lines.day as line_day, facts.day as fact_day, lines.row_count as line_count, facts.row_count as fact_count
from lines
full join facts on lines.day = facts.day
where lines.row_count is distinct from facts.row_count or lines.sales_amount is distinct from facts.sales_amount
