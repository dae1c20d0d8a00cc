with

    products as (select * from {{ ref("int_shop_products") }}),

    history as (select * from {{ ref("int_shop_products_history") }}),

    -- what the shop deleted keeps its last known attributes: sales of the past still need their department
    removed as (

        select history.*
        from history
        left join products on history.product_id = products.product_id
        where history._op <> 'd' and products.product_id is null
        qualify
            row_number() over (
                partition by history.product_id order by history.updated_at desc, history._loaded_at desc
            )
            = 1

    ),

    combined as (

        select *, false as is_deleted
        from products
        union all
        select * exclude (_op), true as is_deleted
        from removed

    ),

    final as (select {{ surrogate_key(["product_id"]) }} as product_key, * from combined)

select *
from final
